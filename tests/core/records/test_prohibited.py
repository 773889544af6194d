"""What may not be collected: names of columns, and cues with their value."""

import pytest

from gateway.core.records.prohibited import prohibited_name, prohibited_text


@pytest.mark.parametrize(
    "name",
    [
        "宗教信仰",
        "血型",
        "献血者血型",
        "基因信息",
        "指纹编号",
        "病史",
        "疾病情况",
        "BLOOD_TYPE",
        "religion",
        "fingerprint",
        "ＤＮＡ",
        "血 型",
    ],
)
def test_prohibited_columns(name: str) -> None:
    """Columns of this name are never taken, whoever they are about."""
    assert prohibited_name(name)
    assert prohibited_name(name, persons=False)


@pytest.mark.parametrize("name", ["年收入", "银行存款", "有价证券", "商业保险", "不动产", "纳税数额", "income"])
def test_columns_by_consent(name: str) -> None:
    """Property of persons needs their consent; where no persons are, it does not."""
    assert prohibited_name(name)
    assert not prohibited_name(name, persons=False)


@pytest.mark.parametrize(
    "name", ["企业名称", "注册资本", "违法事实", "处罚依据", "宗教活动场所名称", "信息来源", "教育机构名称", "罚款金额(万元)", "备注"]
)
def test_ordinary_columns(name: str) -> None:
    """Ordinary columns pass."""
    assert not prohibited_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "血型：A",
        "其血型为AB型",
        "血 型 ：Ｏ",
        "⾎型：B",
        "献血者系O型血",
        "Rh阴性血",
        "信仰基督教",
        "该人信奉伊斯兰教",
        "皈依 佛教",
        "宗教信仰：无",
        "系天主教徒",
        "有精神病史",
        "既往病史不详",
        "指纹编号：0012",
        "指纹：已采集",
        "基因检测结果：阳性",
        "dna：abc",
        "Dna：abc",
        "ＤＮＡ信息：xyz",
        "个人年收入约12万元",
        "其名下存款余额为35000元",
        "个人纳税额：4800元",
        "个人纳税㊎额：4800元",
        "个人纳 税 金额：4800元",
    ],
)
def test_cues_with_their_value(text: str) -> None:
    """A cue with its value is found, in any width and with blanks in between."""
    assert prohibited_text(f"当事人张某，{text}，住址不详。")


@pytest.mark.parametrize(
    "text",
    [
        "销售血型检测试剂",
        "基因检测技术服务；软件开发",
        "指纹锁、门禁系统销售",
        "未经同意采集员工指纹系违法行为",
        "违反《宗教事务条例》第四十一条",
        "尊重信仰，开展教育培训",
        "信息咨询服务",
        "教育咨询",
        "擅自设立宗教活动场所",
        "生产B型血浆分离机",
        "DNA提取仪器销售",
        "当事人患有疾病",
        "营业收入500万元，违法收入3000元",
        "当事人银行账户余额为12345678.90元",
        "应扣未扣个人所得税12345.67元",
        "病史采集不完整",
        "按期足额缴纳税费和社会保险费，纳税信用A级",
    ],
)
def test_texts_about_something_else(text: str) -> None:
    """A trade, a law or a tool is no personal value, and illness told in passing is the redactor's."""
    assert not prohibited_text(f"经营范围：{text}。")
