"""Column headers as departments write them: which field a header means.

Width, case, blanks and kinds of bracket do not count. A dataset in which one header could mean two fields is refused when it is read.
"""

import unicodedata

from gateway.core.records.model import Dataset

_HEADER_BRACKETS = str.maketrans("（）［］【】〔〕：／", "()[][][]:/")


def normalise_header(text: str) -> str:
    """A column header as it is compared: width, case, blanks and kinds of bracket do not count."""
    return "".join(unicodedata.normalize("NFKC", text).translate(_HEADER_BRACKETS).split()).strip("*\ufeff\u200b").upper()


def header_map(dataset: Dataset) -> dict[str, str]:
    """Normalised header text (label, wire name, own name, synonyms) → field name."""
    return {
        normalise_header(text): field.name
        for field in dataset.fields.values()
        for text in (*field.synonyms, field.name, field.label, field.wire_name)
    }
