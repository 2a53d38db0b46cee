"""The public data sets that can be downloaded: address, digest, size, licence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from discrepancy.errors import InputError

_ARCHIVE: Final = re.compile(r"\w[\w.+-]*\.(zip|tar|tar\.xz|txz|tar\.gz|tgz)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Licence:
    """The terms under which a data set is published.

    Attributes:
        name: short, `CC BY 4.0`.
        url: its text.
        allows: one sentence.
    """

    name: str
    url: str
    allows: str


@dataclass(frozen=True)
class DatasetSource:
    """A public data set and where it is published.

    Attributes:
        name: what `dataset=` calls it.
        title: what its authors call it.
        home: page to read about it, and to download it in a browser.
        url: the archive.
        checksum: `sha256:...` or `md5:...` of the archive; None if nobody published one.
        licence: its terms.
        citation: the paper to cite.
        archive_bytes: size of the archive, bytes; None if not known before a server says so.
        extracted_bytes: about what lies in the folder afterwards, bytes; twice as much is refused.
        wrapper: folder in the archive that holds all the rest and is left out; "" if there is none.
    """

    name: str
    title: str
    home: str
    url: str
    checksum: str | None
    licence: Licence
    citation: str
    archive_bytes: int | None
    extracted_bytes: int
    wrapper: str = ""

    @property
    def archive(self) -> str:
        """The archive's file name, from the url where that has one."""
        name = unquote(urlsplit(self.url).path).rpartition("/")[2]
        return name if _ARCHIVE.fullmatch(name) else f"{self.name}.archive"

    def space(self, archive_bytes: int) -> int:
        """Return the bytes that the data set takes on disk once extracted, as far as can be told before.

        An archive of images does not unpack to more than a few times its size. So a part of a data set, from a mirror,
        does not ask for the space of all of it.
        """
        return min(self.extracted_bytes, 10 * archive_bytes)


_BY_NC_SA = Licence(
    "CC BY-NC-SA 4.0",
    "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "It may be used, shared and adapted with attribution, for purposes that are not commercial; adaptations are "
    "shared under the same licence.",
)
_BY_SA = Licence(
    "CC BY-SA 4.0",
    "https://creativecommons.org/licenses/by-sa/4.0/",
    "It may be used, shared and adapted with attribution; adaptations are shared under the same licence.",
)
_BY = Licence(
    "CC BY 4.0",
    "https://creativecommons.org/licenses/by/4.0/",
    "It may be used, shared and adapted for any purpose, with attribution.",
)

SOURCES: Final[dict[str, DatasetSource]] = {
    source.name: source
    for source in (
        DatasetSource(
            name="mvtec_ad",
            title="MVTec AD",
            home="https://www.mvtec.com/company/research/datasets/mvtec-ad",
            # MVTec gives its share a new address from time to time; this is the one of 2026.
            url="https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/"
            "download/420938113-1629960298/mvtec_anomaly_detection.tar.xz",
            # published by anomalib (open-edge-platform), MVTecAD data module
            checksum="sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            licence=_BY_NC_SA,
            citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection Dataset. "
            "IJCV 129(4), 2021; Bergmann, Fauser, Sattlegger, Steger: MVTec AD. CVPR 2019.",
            archive_bytes=5_264_982_680,
            extracted_bytes=5_300_000_000,  # PNG files hardly compress once more
            wrapper="mvtec_anomaly_detection",
        ),
        DatasetSource(
            name="btad",
            title="BTAD (beanTech Anomaly Detection)",
            home="https://github.com/pankajmishra000/VT-ADL",
            url="https://avires.dimi.uniud.it/papers/btad/btad.zip",
            # published by anomalib (open-edge-platform), BTech data module
            checksum="sha256:461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
            licence=_BY_SA,  # as the authors say on their page (home); anomalib lists CC BY-NC-SA 4.0
            citation="Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL: A Vision Transformer Network for Image "
            "Anomaly Detection and Localization. ISIE 2021.",
            archive_bytes=1_229_193_337,
            extracted_bytes=6_600_000_000,  # at most: 2540 images and their masks as BMP files without compression
            wrapper="BTech_Dataset_transformed",
        ),
        DatasetSource(
            name="mvtec_3d",
            title="MVTec 3D-AD",
            home="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
            url="https://www.mydrive.ch/shares/45920/dd1eb345346df066c63b5c95676b961b/"
            "download/428824485-1643285832/mvtec_3d_anomaly_detection.tar.xz",
            # published by anomalib (open-edge-platform), MVTec3D data module
            checksum="md5:d8bb2800fbf3ac88e798da6ae10dc819",
            licence=_BY_NC_SA,
            citation="Bergmann, Jin, Sattlegger, Steger: The MVTec 3D-AD Dataset for Unsupervised 3D Anomaly "
            "Detection and Localization. VISAPP 2022.",
            archive_bytes=None,
            extracted_bytes=14_200_000_000,  # most of it point clouds
            wrapper="mvtec_3d_anomaly_detection",
        ),
        DatasetSource(
            name="visa",
            title="VisA (Visual Anomaly)",
            home="https://github.com/amazon-science/spot-diff",
            url="https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
            # published by anomalib (open-edge-platform), VisA data module
            checksum="sha256:2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
            licence=_BY,
            citation="Zou, Jeong, Pemula, Zhang, Dabeer: SPot-the-Difference Self-supervised Pre-training for Anomaly "
            "Detection and Segmentation. ECCV 2022.",
            archive_bytes=1_929_840_640,
            extracted_bytes=1_930_000_000,  # the archive is not compressed
            wrapper="VisA",
        ),
    )
}
"""By the name that `dataset=` has."""

ELSEWHERE: Final[dict[str, str]] = {
    "demo": "it is rendered by the first run that needs it, nothing is downloaded",
    "folder": "these are photographs of your own: give their folder as data_root=...",
    "kolektor_sdd": "get it from https://www.vicos.si/resources/kolektorsdd/ (CC BY-NC-SA 4.0), unpack it and give "
    "the folder as data_root=...",
    "bottlecap": "no licence of it is known; get it from its authors (Yang, Shi and Qi), unpack it and give the "
    "folder as data_root=...",
}
"""Data sets that are not downloaded, and why, or where they are."""


def find_source(dataset: str) -> DatasetSource:
    """Return where a data set is published.

    Raises:
        InputError: there is no such data set, or it is not downloaded; says which ones are.
    """
    if dataset in SOURCES:
        return SOURCES[dataset]
    names = f"Those that can be downloaded are {', '.join(sorted(SOURCES))}."
    if dataset in ELSEWHERE:
        raise InputError(f"dataset={dataset} cannot be downloaded: {ELSEWHERE[dataset]}. {names}")
    raise InputError(f"Unknown dataset {dataset!r}. {names}")
