"""Exact metrics of anomaly maps and image scores, and thresholds from good images. Arrays in, numbers out."""

from discrepancy.metrics.as_published import aupro_as_published
from discrepancy.metrics.by_group import PixelMetrics, pixel_metrics_by_group
from discrepancy.metrics.evaluation import evaluate
from discrepancy.metrics.overlap import aupro, best_iou, pro_curve
from discrepancy.metrics.ranking import auroc, average_precision, f1_max, f1_max_threshold, roc_curve
from discrepancy.metrics.thresholds import Threshold, threshold_at_fpr

__all__ = [
    "PixelMetrics",
    "Threshold",
    "aupro",
    "aupro_as_published",
    "auroc",
    "average_precision",
    "best_iou",
    "evaluate",
    "f1_max",
    "f1_max_threshold",
    "pixel_metrics_by_group",
    "pro_curve",
    "roc_curve",
    "threshold_at_fpr",
]
