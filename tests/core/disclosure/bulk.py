"""A policy folder as large as one may be: the shipped one, and further datasets with so many rules that the limit is met."""

from tests.core.disclosure.making import shipped_files

LIMIT = 10_000
_PURPOSE = """
[purposes."bulk.{number}"]
label = "用途"
subject_label = "用途"
basis = [{{ law = "政务数据共享条例", from = 2025-08-01 }}]
tiers = ["department"]
case_ref = "none"
assurance = "bound"
retention = "audit.personal"
"""
_RULE = """
[[rules]]
id = "bulk-{dataset}-{number}"
for = {{ tiers = ["department"], purposes = ["bulk.{number}"], kinds = ["legal"] }}
class = {{ O = "clear", B1 = "clear", P1 = "surname" }}
text = {{ do = "redact", profile = "strict", hold = true }}
field.uscc = {{ treatment = "clear" }}
field.id_no = {{ treatment = {{ do = "keep", first = 6 }} }}
rows = {{ within = ["region", "$grant.regions"] }}
basis = ["gx"]
obligations = {{ audit = "subject", cache = "no-store" }}
"""


def bulk(rules: int = LIMIT, datasets: int = 20) -> dict[str, bytes]:
    """The files of a folder of so many rules, spread over so many datasets beside the shipped ones."""
    files = {path: text for path, text in shipped_files().items() if not path.startswith("tests/")}
    left = rules - sum(text.count(b"[[rules]]") for path, text in files.items() if path.startswith("datasets/"))
    each = -(-left // datasets)
    files["purposes.toml"] += "".join(_PURPOSE.format(number=number) for number in range(each)).encode()
    fields = files["datasets/honours.toml"].decode().partition("[[rules]]")[0]
    for dataset in range(datasets):
        here = min(each, left)
        left -= here
        text = fields.replace('id = "honours"', f'id = "bulk-{dataset}"', 1)
        text += "".join(_RULE.format(dataset=dataset, number=number) for number in range(here))
        files[f"datasets/bulk-{dataset}.toml"] = text.encode()
    return files
