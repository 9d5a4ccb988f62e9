"""The pipeline on recordings and videos, without DDS: every frame, or in real time on a virtual clock."""
