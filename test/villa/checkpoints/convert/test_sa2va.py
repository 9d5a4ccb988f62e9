"""Sa2VA's own code, run once at tiny size (sa2va/README.md), against its converted checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from answering_models import says
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers.models.sam2_video import modeling_sam2_video

from villa.checkpoints.checkpoint import load
from villa.checkpoints.convert.names import ConvertError
from villa.checkpoints.convert.sa2va import convert
from villa.inference.answering import ask
from villa.inference.grounding import ground, memory_of
from villa.inference.video import segment
from villa.interface import ClipFrame, finish
from villa.modeling.segmenters.interface import Moment, joined

FIXTURES = sorted((Path(__file__).parent / "sa2va").glob("sa2va_*.safetensors"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(autouse=True, scope="module")
def narrow_memory():
    """transformers writes the width of SAM 2's memory, 64, into its code; the fixtures are narrower."""
    kind = modeling_sam2_video.Sam2VideoRoPEAttention
    plain = kind.__init__

    def narrow(self, config, kv_in_dim=None, **rest):
        plain(self, config, config.memory_encoder_output_channels if kv_in_dim == 64 else kv_in_dim, **rest)

    kind.__init__ = narrow
    yield
    kind.__init__ = plain


class Fixture:
    """One family: weights under their names, inputs, outputs, configuration."""

    def __init__(self, path: Path) -> None:
        self.family = path.stem.removeprefix("sa2va_")
        with safe_open(str(path), "pt") as file:
            self.meta = json.loads(file.metadata()["sa2va"])
            everything = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.weights = {
            n.removeprefix("weights/"): t.float() for n, t in everything.items() if n.startswith("weights/")
        }
        self.inputs = {n.removeprefix("inputs/"): t for n, t in everything.items() if n.startswith("inputs/")}
        self.outputs = {n.removeprefix("outputs/"): t for n, t in everything.items() if n.startswith("outputs/")}

    def publish(self, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
        """The checkpoint as it would be published, in two shards."""
        folder.mkdir(parents=True)
        names = sorted(self.weights)
        for part, some in enumerate((names[::2], names[1::2])):
            tensors = {name: self.weights[name].to(dtype).contiguous() for name in some}
            save_file(tensors, str(folder / f"model-{part + 1:05d}-of-00002.safetensors"))
        (folder / "config.json").write_text(json.dumps(self.config))
        (folder / "tokenizer.json").write_text(self.tokenizer)
        return folder

    @property
    def config(self) -> dict:
        """Sa2VA's config.json."""
        meta = self.meta
        if "internvl" in self.family:
            return {
                "model_type": "sa2va_chat",
                "architectures": ["Sa2VAChatModel"],
                "llm_config": meta["language_config"],
                "vision_config": meta["vision_config"],
                "downsample_ratio": meta["downsample_ratio"],
                "ps_version": meta["ps_version"],
                "select_layer": meta["select_layer"],
                "template": meta["template"],
            }
        tokens = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
        return {
            "model_type": self.family,
            "architectures": ["Sa2VAChatModelQwen"],
            "text_config": meta["language_config"],
            "vision_config": meta["vision_config"],
            "tie_word_embeddings": meta["tie_word_embeddings"],
            **{name: meta[name] for name in tokens},
        }

    @property
    def tokenizer(self) -> str:
        """One id for each character, then the special tokens."""
        vocabulary = {character: index for index, character in enumerate(self.meta["characters"])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=" "))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
        ordered = sorted(self.meta["token_ids"], key=self.meta["token_ids"].get)
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ordered])
        assert {token: tokenizer.token_to_id(token) for token in ordered} == self.meta["token_ids"]
        return tokenizer.to_str()

    @property
    def sam2(self) -> dict:
        """transformers' configuration of its SAM 2."""
        own, weights = self.meta["sam2"], self.weights
        hidden, size, first = own["hidden_dim"], own["image_size"], own["embed_dim"]
        sam = "grounding_encoder.sam2_model."
        widths = [first * 2**stage for stage in range(4)]
        heads = [own["num_heads"] * 2**stage for stage in range(4)]
        fuser = weights[f"{sam}memory_encoder.fuser.layers.0.pwconv1.weight"].shape[0]
        return {
            "image_size": size,
            "enable_occlusion_spatial_embedding": False,
            "enable_temporal_pos_encoding_for_object_pointers": False,
            "memory_attention_hidden_size": hidden,
            "memory_attention_num_layers": own["memory_layers"],
            "memory_attention_feed_forward_hidden_size": own["memory_feedforward"],
            "memory_attention_rope_feat_sizes": [size // 16, size // 16],
            "memory_encoder_hidden_size": hidden,
            "memory_encoder_output_channels": own["mem_dim"],
            "mask_downsampler_embed_dim": hidden,
            "memory_fuser_embed_dim": hidden,
            "memory_fuser_intermediate_dim": fuser,
            "memory_fuser_num_layers": own["fuser_layers"],
            "prompt_encoder_config": {"hidden_size": hidden, "image_size": size, "patch_size": 16},
            "mask_decoder_config": {
                "model_type": "sam2_video_mask_decoder",
                "hidden_size": hidden,
                "mlp_dim": own["decoder_mlp_dim"],
                "iou_head_hidden_dim": own["iou_head_hidden_dim"],
            },
            "vision_config": {
                "model_type": "sam2_vision_model",
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "hidden_size": first,
                    "image_size": [size, size],
                    "blocks_per_stage": own["stages"],
                    "embed_dim_per_stage": widths,
                    "num_attention_heads_per_stage": heads,
                    "window_size_per_stage": own["window_spec"],
                    "global_attention_blocks": own["global_att_blocks"],
                },
                "backbone_channel_list": widths[::-1],
                "backbone_feature_sizes": [[size // 4] * 2, [size // 8] * 2, [size // 16] * 2],
                "fpn_hidden_size": hidden,
            },
        }


@pytest.fixture(scope="module", params=FIXTURES, ids=lambda path: path.stem.removeprefix("sa2va_"))
def fixture(request):
    return Fixture(request.param)


@pytest.fixture(scope="module")
def converted(fixture, tmp_path_factory):
    folder = tmp_path_factory.mktemp(fixture.family)
    return convert(fixture.publish(folder / "published"), folder / "ours", fixture.sam2).folder


@pytest.fixture
def model(fixture, converted):
    """The converted model, fed with the very tensors that theirs was fed with."""
    model = load(converted)
    grounding = _normalised(fixture.inputs["g_frames"])
    corner = fixture.inputs["g_pixel_values_corner"].float()
    assert torch.equal(grounding[0, :, : corner.shape[1], : corner.shape[2]], corner)
    frames = fixture.inputs["frames"].numpy()

    def which(image) -> int:
        return next(t for t in range(len(frames)) if np.array_equal(frames[t], image))

    model.segmenter.preprocess = lambda images: torch.stack([grounding[which(image)] for image in images])
    _feed_language(model, fixture, which)
    return model


def _feed_language(model, fixture, which) -> None:
    pixels = fixture.inputs["pixel_values"].float()
    if "internvl" in fixture.family:
        model.language.pixels = lambda images: torch.stack([pixels[which(image)] for image in images])
        return
    from villa.modeling.language import qwen_vl

    grid = fixture.inputs["image_grid_thw"]
    per_frame = int(grid[0].prod())
    encode_pixels = type(model.language).encode_pixels

    def see(images, pyramid, times_s):
        chosen = [which(image) for image in images]
        patches = torch.cat([pixels[t * per_frame : (t + 1) * per_frame] for t in chosen])
        plain = qwen_vl.patched
        qwen_vl.patched = lambda *_: (patches, grid[: len(chosen)])
        try:
            return encode_pixels(model.language, torch.zeros(len(chosen), 3, 8, 8))
        finally:
            qwen_vl.patched = plain

    model.language.see = see


def _normalised(frames: torch.Tensor) -> torch.Tensor:
    """Images [T, 3, S, S] uint8 as Sa2VA normalises them: by constants rounded to bfloat16, and rounded again."""
    mean, std = (torch.tensor(v, dtype=torch.bfloat16)[:, None, None] for v in (MEAN, STD))
    return torch.stack([((frame / 255.0 - mean) / std).to(torch.bfloat16) for frame in frames]).float()


def _clip(fixture) -> list[ClipFrame]:
    return [ClipFrame(0.1 * t, lambda t=t: fixture.inputs["frames"][t].numpy()) for t in range(7)]


def _heard(model, fixture):
    answer = fixture.meta["answer"].removesuffix("<|im_end|>")
    says(model, answer)
    request = fixture.meta["request"].removeprefix("<image>\n")
    return finish(ask(model, request, _clip(fixture), 5, newest=False))


def test_there_is_a_fixture_for_every_family_of_sa2va():
    assert [path.stem.removeprefix("sa2va_") for path in FIXTURES] == [
        "internvl_internlm2", "internvl_qwen2", "qwen2_5_vl", "qwen3_vl",
    ]  # fmt: skip
    assert sum(path.stat().st_size for path in FIXTURES) <= 2_000_000


@torch.inference_mode()
def test_the_prompt_is_theirs_token_for_token(model, fixture):
    visual = finish_seen(model, fixture)
    request = fixture.meta["request"].removeprefix("<image>\n")
    prompt = model.language.prompt(request, (), visual, [0.4, 0.3, 0.2, 0.1, 0.0], 512)
    image = model.language.mllm.config.image_token_id
    mine = [image if token == model.codec.visual_id else token for token in (*prompt.video, *prompt.tail)]
    assert mine == fixture.inputs["input_ids"].tolist()


def finish_seen(model, fixture):
    frames = [fixture.inputs["frames"][t].numpy() for t in range(5)]
    return model.language.see(frames, None, torch.zeros(5))


@torch.inference_mode()
def test_vision_tokens_and_image_features_are_theirs(model, fixture):
    visual = finish_seen(model, fixture)
    torch.testing.assert_close(
        visual.tokens, fixture.outputs["vision_tokens"].reshape(visual.tokens.shape), **TOLERANCE
    )
    pyramid = model.encode(fixture.inputs["frames"][0].numpy())
    if "fpn_0" in fixture.outputs:
        for level, mine in enumerate((pyramid.s4, pyramid.s8, pyramid.s16)):
            torch.testing.assert_close(mine[0], fixture.outputs[f"fpn_{level}"], **TOLERANCE)


@torch.inference_mode()
def test_seg_states_and_embeddings_are_theirs(model, fixture):
    response = _heard(model, fixture)
    torch.testing.assert_close(response.generated.states, fixture.outputs["seg_hidden"], **TOLERANCE)
    torch.testing.assert_close(
        model.to_video_prompt(response.generated.states), fixture.outputs["seg_embeddings"], **TOLERANCE
    )


@torch.inference_mode()
def test_masks_of_every_frame_and_of_the_whole_video_are_theirs(model, fixture):
    """Per-frame mask logits, and those of frames that were only carried."""
    response = _heard(model, fixture)
    assert response.encoded.chosen == (0, 1, 2, 3, 4)
    moments = [Moment(t, 0.1 * t) for t in range(5)]
    found = finish(ground(model, response, moments))
    assert len(found) == 2
    for k, thing in enumerate(found):
        assert sorted(thing.seeds) == [0, 1, 2, 3, 4]
        for t in range(5):
            drawn = torch.from_numpy(thing.logits[t])
            torch.testing.assert_close(drawn, fixture.outputs["frame_logits"][k, t], **TOLERANCE)
            torch.testing.assert_close(drawn, fixture.outputs["video_logits"][k, t], **TOLERANCE)
            score = float(fixture.outputs["object_score_logits"][k, t])
            assert thing.chances[t] == pytest.approx(1 / (1 + np.exp(-score)), abs=1e-4)
    memories = [memory_of(model, thing) for thing in found]
    for t in (5, 6):
        seen = model.segmenter.carry(memories, model.encode(fixture.inputs["frames"][t].numpy()), Moment(t, 0.1 * t))
        # Memory is rounded to bfloat16 by both: a value on the edge of a rounding moves the logits a little.
        spread = float(fixture.outputs["video_logits"].std())
        torch.testing.assert_close(seen.logits, fixture.outputs["video_logits"][:, t], atol=2e-3 * spread, rtol=1e-3)


def test_a_whole_video_gets_their_masks(model, fixture):
    says(model, fixture.meta["answer"].removesuffix("<|im_end|>"))
    frames = [fixture.inputs["frames"][t].numpy() for t in range(7)]
    seen = segment(model, frames, fixture.meta["request"].removeprefix("<image>\n"))
    height, width = frames[0].shape[:2]
    theirs = np.unpackbits(fixture.outputs["masks"].numpy(), axis=-1)[..., :width].astype(bool)
    from villa import masks

    for k, tracklet in enumerate(seen.tracklets):
        for t, mask in enumerate(tracklet.masks):
            mine = np.zeros((height, width), bool) if mask is None else masks.decode(mask)
            # They enlarge twice, to the encoder's size and then to the image's: edges fall a pixel apart.
            agree = np.count_nonzero(mine == theirs[k, t]) / mine.size
            assert agree > 0.95, (k, t, agree)


@torch.inference_mode()
def test_their_greedy_text_is_ours(model, fixture):
    visual = finish_seen(model, fixture)
    request = fixture.meta["request"].removeprefix("<image>\n")
    prompt = model.language.prompt(request, (), visual, [0.4, 0.3, 0.2, 0.1, 0.0], 512)
    from villa.inference.answering import tail_embeds
    from villa.modeling.language.interface import next_position

    language = model.language
    cache = language.new_cache()
    video = language.video_inputs(prompt, visual)
    tail = language.text_inputs(tail_embeds(model, prompt, visual, torch.zeros(5)), next_position(video.positions))
    state = None
    for part in (video, tail):
        for chunk in part.chunks(64):
            state = language.read(chunk, cache=cache)[-1]
    position = next_position(tail.positions)
    head = language.mllm.get_output_embeddings()
    for step, (token, hidden) in enumerate(
        zip(fixture.outputs["greedy_ids"].tolist(), fixture.outputs["greedy_hidden"], strict=True)
    ):
        torch.testing.assert_close(state, hidden, **TOLERANCE)
        final = language.text.norm(state) if model.config.language.state_before_norm else state
        assert int(head(final).argmax()) == token
        # A row that they have and do not use is where our [FRM] has come to be: theirs is read here.
        word = language.mllm.get_input_embeddings()(language.ids([token]))
        state = language.read(language.text_inputs(word, position + step), cache=cache)[-1]


def test_features_of_several_frames_are_those_of_each(model, fixture):
    frames = [fixture.inputs["frames"][t].numpy() for t in range(3)]
    whole = joined([model.encode(frame) for frame in frames])
    together = model.segmenter.encode(model.segmenter.preprocess(frames))
    torch.testing.assert_close(whole.s16, together.s16, atol=1e-5, rtol=1e-4)


# -- the converter ---------------------------------------------------------------------------------------------------


def test_every_tensor_is_used_and_the_type_is_kept(fixture, tmp_path):
    done = convert(fixture.publish(tmp_path / "published", torch.bfloat16), tmp_path / "ours", fixture.sam2)
    assert done.tensors == len(fixture.weights)
    assert done.dtype == torch.bfloat16
    for part in ("mllm", "sam2", "villa"):
        for path in (done.folder / part).glob("*.safetensors"):
            with safe_open(str(path), "pt") as file:
                assert {file.get_tensor(n).dtype for n in file.keys()} == {torch.bfloat16}, path  # noqa: SIM118


def test_a_tensor_that_nothing_uses_is_an_error_that_names_it(fixture, tmp_path):
    fixture.weights["surprise.weight"] = torch.zeros(2)
    try:
        with pytest.raises(ConvertError, match=r"nothing uses 'surprise\.weight'"):
            convert(fixture.publish(tmp_path / "published"), tmp_path / "ours", fixture.sam2)
    finally:
        del fixture.weights["surprise.weight"]
    assert not list(tmp_path.glob("ours*"))


@pytest.mark.parametrize("gone", ["text_hidden_fcs.2.bias", "grounding_encoder.sam2_model.no_obj_ptr"])
def test_a_tensor_that_is_missing_is_an_error_that_names_its_place(fixture, tmp_path, gone):
    kept = fixture.weights.pop(gone)
    try:
        with pytest.raises(
            ConvertError, match=r"no source for 1 tensor\(s\), first '(layers\.1\.bias|no_object_pointer)'"
        ):
            convert(fixture.publish(tmp_path / "published"), tmp_path / "ours", fixture.sam2)
    finally:
        fixture.weights[gone] = kept


def test_a_tensor_of_another_shape_is_an_error_with_both_shapes(fixture, tmp_path):
    settings = fixture.sam2 | {"memory_fuser_intermediate_dim": 7}
    with pytest.raises(ConvertError, match=r"pointwise_conv.*has shape .*, wanted .*7"):
        convert(fixture.publish(tmp_path / "published"), tmp_path / "ours", settings)


def test_what_is_there_is_not_overwritten(fixture, converted):
    with pytest.raises(FileExistsError, match="name another folder"):
        convert(converted, converted, fixture.sam2)


def test_mixed_types_are_refused(fixture, tmp_path):
    source = fixture.publish(tmp_path / "published")
    save_file({"x": torch.zeros(1, dtype=torch.float16)}, str(source / "model-00003-of-00003.safetensors"))
    with pytest.raises(ConvertError, match="wanted one floating type"):
        convert(source, tmp_path / "ours", fixture.sam2)


def test_a_tokenizer_without_seg_is_refused(fixture, tmp_path):
    source = fixture.publish(tmp_path / "published")
    text = (source / "tokenizer.json").read_text().replace("[SEG]", "[GES]")
    (source / "tokenizer.json").write_text(text)
    with pytest.raises(ConvertError, match=r"no token '\[SEG\]'"):
        convert(source, tmp_path / "ours", fixture.sam2)


def test_our_own_choices_may_be_had_for_the_same_weights(fixture, tmp_path):
    folder = convert(fixture.publish(tmp_path / "p"), tmp_path / "ours", fixture.sam2, compatible=False).folder
    config = load(folder).config
    assert (config.clip_frames, config.clip_choice, config.seed_every_frame) == (8, "segments", False)
    assert config.least_presence == 0.5


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no config.json"),
        (lambda f: (f / "config.json").write_text('{"model_type": "llama"}'), "model_type 'llama' with neither"),
        (lambda f: [p.unlink() for p in f.glob("*.safetensors")], "holds no safetensors"),
        (lambda f: next(iter(f.glob("*.safetensors"))).write_bytes(b"no"), "is no safetensors file"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json and none could be made"),
    ],
)
def test_a_folder_that_is_no_sa2va_is_refused(tmp_path, damage, match):
    fixture = Fixture(FIXTURES[-1])
    source = fixture.publish(tmp_path / "published")
    damage(source)
    with pytest.raises(ConvertError, match=match):
        convert(source, tmp_path / "ours", fixture.sam2)


def test_the_converted_folder_is_a_checkpoint_like_any_other(converted, tmp_path):
    copy = shutil.copytree(converted, tmp_path / "moved")
    assert load(copy).config == load(converted).config
