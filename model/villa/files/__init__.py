"""Files that anybody may have written become plain values, dataclasses and masks, or an error that says why not."""
