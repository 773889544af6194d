"""Three spellings of one graph: JSON-LD, Turtle, RDF/XML (api.md §7.14), by rdflib.

Rules: nothing is fetched, the context of JSON-LD stands in it; the same graph gives the same bytes in every process, so rdflib is
made to read in one order. rdflib is imported when somebody first asks: it is large, and most processes never need it.
This room must not know what a graph is about.
"""

import json
from functools import lru_cache
from typing import Any, Final, Literal

from gateway.core.publication.catalogue_export import PREFIXES, Graph, Text

Spelling = Literal["json-ld", "turtle", "xml"]
MEDIA_TYPES: Final[dict[Spelling, str]] = {"json-ld": "application/ld+json", "turtle": "text/turtle", "xml": "application/rdf+xml"}


@lru_cache(maxsize=64)
def spelt(graph: Graph, spelling: Spelling) -> bytes:
    """The graph as bytes; remembered, for a catalogue changes seldom. Takes some ten milliseconds: off the loop."""
    store = _ordered()(bind_namespaces="none")
    for prefix, address in PREFIXES.items():
        store.bind(prefix, address)
    nodes = _nodes()
    for subject, predicate, value in graph:
        store.add((nodes.URIRef(subject), nodes.URIRef(predicate), _node(nodes, value)))
    more: dict[str, Any] = {"context": dict(PREFIXES), "sort_keys": True} if spelling == "json-ld" else {}
    written: bytes = store.serialize(format=spelling, encoding="utf-8", **more)
    return _in_order(written) if spelling == "json-ld" else written


def _in_order(written: bytes) -> bytes:
    """The nodes of a JSON-LD document by their ids: rdflib takes them out of a set, so in another order in each process."""
    found = json.loads(written)
    found.get("@graph", []).sort(key=lambda node: node["@id"])
    return json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False).encode()


def _node(nodes: Any, value: str | Text) -> Any:
    if not isinstance(value, Text):
        return nodes.URIRef(value)
    datatype = None if value.datatype is None else nodes.URIRef(value.datatype)
    return nodes.Literal(value.text, lang=value.language, datatype=datatype, normalize=False)


def _nodes() -> Any:
    import rdflib

    return rdflib


@lru_cache(maxsize=1)
def _ordered() -> Any:
    """Rdflib's graph, whose triples come in one order whatever the process hashes."""
    import rdflib

    class Ordered(rdflib.Graph):
        def triples(self, triple: Any) -> Any:
            return iter(sorted(super().triples(triple), key=lambda each: tuple(term.n3() for term in each)))

    return Ordered
