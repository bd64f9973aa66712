"""ELAN's annotation files (.eaf, XML): a file -> its tiers, and the media that it names.

In:   a path.   Out: tiers with the times of their annotations; a bad annotation costs itself.
Not here: XML that is not well-formed, which costs its file.

An alignable annotation has two time slots; one that refers to another has the times of that one. If
several refer to one (a symbolic subdivision), they are parts of one text.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from pipeline.corpus.annotations.tiers import Tier
from pipeline.corpus.layouts.parsing import parse_seconds, read_content, shorten
from pipeline.files import InputError

MAX_REFERENCES = 20  # from an annotation to the one with times; more form a circle
ANNOTATIONS = ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")


@dataclass(slots=True)
class _Annotation:
    attributes: dict[str, str]
    line: int
    text: str = ""


@dataclass(slots=True)
class _Document:
    """What of the XML is used."""

    is_elan: bool = False
    units: str = "milliseconds"
    media: list[tuple[str, str]] = field(default_factory=list)  # name, offset in milliseconds
    slots: dict[str, str] = field(default_factory=dict)  # milliseconds by id; "": not aligned
    tiers: list[tuple[dict[str, str], list[_Annotation]]] = field(default_factory=list)
    by_id: dict[str, _Annotation] = field(default_factory=dict)


def read_elan(path: Path) -> list[Tier]:
    """Return the tiers. Raises InputError if the file is no ELAN file."""
    document = _parse(path)
    if not document.is_elan:
        raise InputError(f"{path}: is no ELAN file (ANNOTATION_DOCUMENT is missing)")
    if document.units != "milliseconds":
        problem = f"its times are in {shorten(document.units)}, not in milliseconds"
        raise InputError(f"{path}: {problem}; save it with ELAN 2 or later")
    return [_make_tier(path, document, *each) for each in document.tiers]


def media_name(path: Path) -> str:
    """Return the name of the first recording that an ELAN file names, without suffix, or ""."""
    names = [PurePosixPath(name.replace("\\", "/")).stem for name, _ in _parse(path).media]
    return names[0] if names else ""


def _make_tier(
    path: Path, document: _Document, attributes: dict[str, str], annotations: list[_Annotation]
) -> Tier:
    tier = Tier(attributes.get("TIER_ID", ""), is_child="PARENT_REF" in attributes)
    speaker = attributes.get("PARTICIPANT", "")
    offset = _first_offset(document)
    parts: dict[str, list[_Annotation]] = {}
    for annotation in annotations:
        name = annotation.attributes.get("ANNOTATION_REF", "")
        parts.setdefault(name or f"#{len(parts)}", []).append(annotation)
    for group in parts.values():
        first = group[0]
        times = _times(document, first, offset)
        if times is None:
            problem = "is an annotation without times; align it in ELAN, or remove it"
            tier.refuse(path, first.line, problem)
        else:
            tier.add(path, first.line, times, " ".join(each.text for each in group), speaker)
    return tier


def _first_offset(document: _Document) -> float:
    """Return the milliseconds of the recording before ELAN's zero."""
    offset = document.media[0][1] if document.media else ""
    return parse_seconds(offset) or 0.0


def _times(
    document: _Document, annotation: _Annotation, offset: float
) -> tuple[object, object] | None:
    """Return begin and end in seconds; None if the annotation, or what it refers to, has none."""
    for _ in range(MAX_REFERENCES):
        if (name := annotation.attributes.get("ANNOTATION_REF")) is None:
            break
        if name not in document.by_id:
            return None
        annotation = document.by_id[name]
    slots = [annotation.attributes.get(f"TIME_SLOT_REF{number}", "") for number in (1, 2)]
    values = [document.slots.get(slot, "") for slot in slots]
    if not all(values):
        return None
    times = [parse_seconds(value) for value in values]
    begin, end = (
        value if time is None else (time + offset) / 1000
        for value, time in zip(values, times, strict=True)
    )
    return begin, end


def _parse(path: Path) -> _Document:
    """Parse the XML. Raises InputError if it is not well-formed."""
    document, parser = _Document(), expat.ParserCreate()
    texts: list[str] | None = None  # of the ANNOTATION_VALUE that is open

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal texts
        match name:
            case "ANNOTATION_DOCUMENT":
                document.is_elan = True
            case "HEADER":
                document.units = attributes.get("TIME_UNITS", document.units)
            case "MEDIA_DESCRIPTOR":
                media = attributes.get("MEDIA_URL") or attributes.get("RELATIVE_MEDIA_URL", "")
                document.media.append((media, attributes.get("TIME_ORIGIN", "")))
            case "TIME_SLOT":
                slot = attributes.get("TIME_SLOT_ID", "")
                document.slots[slot] = attributes.get("TIME_VALUE", "")
            case "TIER":
                document.tiers.append((attributes, []))
            case "ANNOTATION_VALUE":
                texts = []
            case _ if name in ANNOTATIONS and document.tiers:
                annotation = _Annotation(attributes, parser.CurrentLineNumber)
                document.tiers[-1][1].append(annotation)
                document.by_id[attributes.get("ANNOTATION_ID", "")] = annotation

    def end(name: str) -> None:
        nonlocal texts
        if name == "ANNOTATION_VALUE" and texts is not None:
            if document.tiers and document.tiers[-1][1]:
                document.tiers[-1][1][-1].text = "".join(texts)
            texts = None

    def characters(text: str) -> None:
        if texts is not None:
            texts.append(text)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(read_content(path), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        problem = f"is not well-formed XML ({error})"
        raise InputError(f"{path}: {problem}; save it again with ELAN") from None
    return document
