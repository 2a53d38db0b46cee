"""Exact metrics of anomaly maps and image scores, and thresholds from good images. Arrays in, numbers out."""

from discrepancy.metrics.as_published import aupro_as_published
from discrepancy.metrics.bootstrap import roc_band
from discrepancy.metrics.by_group import PixelMetrics, pixel_metrics_by_group
from discrepancy.metrics.evaluation import evaluate
from discrepancy.metrics.overlap import aupro, best_iou, pro_curve
from discrepancy.metrics.ranking import auroc, average_precision, f1_max, f1_max_threshold, roc_curve
from discrepancy.metrics.rates import oracle_detection_at_target, rate_metrics, share_interval
from discrepancy.metrics.regions import region_metrics
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
    "oracle_detection_at_target",
    "pixel_metrics_by_group",
    "pro_curve",
    "rate_metrics",
    "region_metrics",
    "roc_band",
    "roc_curve",
    "share_interval",
    "threshold_at_fpr",
]
