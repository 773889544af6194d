"""What rooms below the web say of a fault in one Chinese sentence, in English (api.md §1, §5).

Rules: one line for each sentence, `{}` for what stands in it, a number or a name of ours; a test finds every sentence in the source. Where
a sentence has no line (an adapter's words), its code has. This room must not know a request.
"""

import re
from functools import cache
from typing import Final

_SENTENCES: Final = """
应为日期，例如 2026-03-02。                      a date, for example 2026-03-02
最多 {} 个筛选条件。                             at most {} filters
有 q 时按相关度排序，不能指定 sort。              with q the order is relevance; sort is not taken
每个取值为 1 至 {} 个字符。                      each value has 1 to {} characters
不是该字段的取值。                               not a value of this field
应为带时区的时刻，例如 2026-03-02T00:00:00Z。     an instant with its zone, for example 2026-03-02T00:00:00Z
应为 1 至 {} 个字符。                            1 to {} characters
应为 1 至 {} 的整数，或者 all。                  a whole number from 1 to {}, or all
排序字段不能重复。                               a sort key may be named once
最多 {} 个取值。                                 at most {} values
取值为 true 或 false。                           true or false
应为十进制数。                                   a decimal number
第 {} 个取值是空的。                             value {} is empty
第 {} 个取值与前面的重复。                        value {} repeats one before it
应为整数。                                       a whole number
应为六位行政区划代码。                            a division code of six digits
没有这个数据集。                                 there is no such dataset
没有这个数据集，或者它不在此使用目的的范围之内。    there is no such dataset, or it is outside this purpose
没有这个数据集                                   there is no such dataset
没有这个访问层级                                 there is no such tier
超出当前位置                                     beyond the head of the feed
应为此前收到的事件编号                            the id of an event received before
Case-Ref 请求头应为 4 至 64 个字符（UTF-8）。      the header field Case-Ref has 4 to 64 characters (UTF-8)
此版本已撤回                                     this version was withdrawn
去掉标点、空格和符号后应有 1 至 128 个字符         1 to 128 characters besides punctuation, blanks and symbols
应为完整有效的公民身份号码                        a whole valid citizen number
应为完整姓名                                     a full name
至少要有 name、uscc、registration_number、address 之一   at least one of name, uscc, registration_number, address
列名不得与结果列相同                              a column is named like one of the result
文件中没有这一列                                 the file has no such column
文件中没有这一列；表头只有一列，请用英文逗号分隔      the file has no such column; its header is a single cell: separate by commas
一次最多 {} 个查询                               at most {} queries at once
每次最多 {} 个主体，请分批                        at most {} subjects at once
编号重复                                         this id is used twice
编号不得像公民身份号码                            an id may not look like a citizen number
每次最多 {} 条，请缩小范围或者分页。              at most {} rows at once: narrow the question, or page
应为 nested 或 flat                              nested or flat
应为 0 或 1                                      0 or 1
只用于 NDJSON                                    of NDJSON alone
只用于 CSV                                       of CSV alone
应为 none、estimated 或 exact                    none, estimated or exact
应为 {} 至 {} 的整数                             a whole number from {} to {}
缺少此参数                                       required
未知参数                                         unknown parameter
参数重复                                         repeated parameter
文件没有数据行                                   the file has no rows below its header
一次最多 {} 行                                   at most {} rows at once
单元格至多 {} 个字符                             a cell has at most {} characters
超过 {} 列                                       more than {} columns
每行应为一个 JSON 对象，值为文本、数（整数不超过 64 位）、真假或 null   an object of texts, numbers (up to 64 bits), booleans, null
起点晚于终点                                     the first version is later than the second
没有这个可以取用的字段                            no such field is offered
应为 1 至 64 个可见的 ASCII 字符                  1 to 64 visible ASCII characters
没有凭证的请求不能使用此请求头                     this header field needs a credential
应为 subject、dataset 或 field                   subject, dataset or field
应为归档页的编号                                 the number of an archive page
Content-Digest 请求头不符。                      the header field Content-Digest does not fit
请用 Officer 请求头写明经办人。                   name the officer in the header field Officer
Officer 为 1–32 个字符                           Officer has 1 to 32 characters
此机构不是本市登记的报送机关。                     this organisation is no authority that sends records here
此应用只登记用于查询，未登记用于报送。              this app is registered to ask, not to send records
没有收到文件。                                   no file was received
应为本机的相对网址，以 /v1/ 开头，汉字等用百分号编码，没有 # 部分   a path of ours from /v1/ on, percent-encoded, without fragment
此网址不能出具回执；可以是主体、记录、名单的 JSON 查询   no receipt is given of this URL; of a JSON query of subjects, records or lists
回执只针对一页，不能是导出或者游标                  a receipt is of one page: no export, no cursor
应为正整数。                                     a whole number above 0
应为 0 至 30 秒。                                0 to 30 seconds
须给出 epoch 与 seq。                            epoch and seq are required
应为四位年份                                     a year of four digits
须给出 record 或 commitment 之一                  one of record and commitment is required
应为 32 字节的 base64 或十六进制数字               32 bytes as base64 or hexadecimal digits
不是记录标识                                     not the id of a record
应为 utf-8 或 gb18030                            utf-8 or gb18030
含有不认识的字段                                 holds an unknown field
字段重复                                         this field is sent twice
应为文件                                         a file
只有 file 可以是文件                             only file may be a file
应为 0.6 至 1 的数                               a number from 0.6 to 1
应为 multipart/form-data                         multipart/form-data
缺少必填项                                       a required member is missing
应为 2 至 5 位小写十六进制数字                     2 to 5 lower-case hexadecimal digits
queries 与 extend 不能同时使用                    queries and extend exclude each other
须有 queries 或 extend 之一                       one of queries and extend is required
应有 1 至 64 个字符                              1 to 64 characters
Idempotency-Key 请求头只能出现一次。              the header field Idempotency-Key may be sent once
Host 请求头只能出现一次。                         the header field Host may be sent once
HTTP/1.1 的请求应有 Host 请求头。                 a request of HTTP/1.1 has the header field Host
应为 1 至 10 的整数                              a whole number from 1 to 10
应为 1 至 100 的整数                             a whole number from 1 to 100
应为 1 至 {} 的整数                              a whole number from 1 to {}
Officer 请求头须为 UTF-8 的百分号编码。            the header field Officer is percent-encoded UTF-8
limit=all 不能与 {} 同时使用                     limit=all and {} exclude each other
类型或取值不符                                   the type or value does not fit
含有不认识的名称                                 holds an unknown name
同一名称出现两次                                 a name is sent twice
同一名称在对象中出现两次                           a name stands twice in an object
文本中有 U+0000 或半个代理对                      a text holds U+0000 or half a surrogate pair
一次最多 {} 个                                   at most {} at once
应为 UTF-8 百分号编码的表单                        a form in percent-encoded UTF-8
应为 UTF-8 的 JSON                               JSON in UTF-8
名称至多 {} 个字符                               a name has at most {} characters
Purpose 请求头只能出现一次。                      the header field Purpose may be sent once
Case-Ref 请求头只能出现一次。                     the header field Case-Ref may be sent once
网址中的百分号编码不正确。                         the percent-encoding of the URL is broken
网址中含有控制字符。                              the URL holds a control character
网址不是 UTF-8 编码；很可能是 GBK/GB18030，请改用 UTF-8 后再做百分号编码。   the URL is no UTF-8, perhaps GBK: percent-encode UTF-8
Test-Fault 请求头应为 query-timeout、overloaded、internal 或 abort。   Test-Fault is query-timeout, overloaded, internal or abort
参数过多。                                       too many parameters
网址中不得出现公民身份号码                         a URL may hold no citizen number
至多 {} 个字符                                   at most {} characters
"""
_BY_CODE: Final = {
    "FILE_ENCODING": "the file is not in the encoding that was declared (encoding=utf-8 or gb18030)",
    "FILE_FORMAT": "the file is no CSV file or .xlsx workbook, or is damaged",
    "FILE_MACRO": "workbooks with macros are not taken",
    "FILE_FORMULA": "the cell holds a formula: paste its value instead",
    "FILE_NUL": "the file holds NUL characters and may be damaged",
    "FILE_HEADER": "the header is missing, repeats itself, or has an unknown name",
    "FILE_COLUMNS": "too many columns",
    "FILE_SHEET": "more than one sheet holds data, or none",
    "SIZE_BYTES": "the file is too large",
    "SIZE_LINES": "the file has too many rows",
    "SIZE_LINE": "a cell or row is too long",
    "SCHEMA_LINE": "the row does not have the columns of the header: check commas and quotes",
    "SCHEMA_JSON": "the line is no JSON object of plain values",
}


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Sentences as patterns, those without a hole first."""
    found = []
    for line in _SENTENCES.strip().splitlines():
        said, english = re.split(r" {3,}", line, maxsplit=1)
        found.append((re.compile("(.{1,64})".join(map(re.escape, said.split("{}")))), english))
    return tuple(sorted(found, key=lambda each: each[0].groups))


def in_english(sentence: str, code: str = "") -> str | None:
    """A sentence in English, or what its code says; None where neither is known."""
    for pattern, english in _patterns():
        match = pattern.fullmatch(sentence)
        if match is not None and not re.search("[\u4e00-\u9fff]", "".join(match.groups())):
            return english.format(*match.groups())
    return _BY_CODE.get(code)
