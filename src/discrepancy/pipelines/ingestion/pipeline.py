"""Wiring of the ingestion pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from discrepancy.pipelines.ingestion.nodes import decode_images, decode_masks, split_samples


def create_pipeline() -> Pipeline:
    """Wire photographs -> samples, images, masks."""
    return Pipeline(
        [
            Node(split_samples, ["photographs", "params:ingestion"], "samples", name="split_samples"),
            Node(decode_images, ["photographs", "samples", "params:ingestion"], "images", name="decode_images"),
            Node(decode_masks, ["photographs", "samples", "params:ingestion"], "masks", name="decode_masks"),
        ],
        tags=["ingestion"],
    )
