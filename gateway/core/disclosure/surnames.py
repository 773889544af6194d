"""Surnames: the compound table of exchange.md §22 (`compound-surnames/1`) and ours of single ones.

A name whose first character stands in neither is shown as `某某` alone, so a missing surname hides more, never less. This room
must not decide what is shown.
"""

COMPOUND_TABLE = "compound-surnames/1"

_PAIRS = (
    "万俟司马上官欧阳夏侯诸葛闻人东方赫连皇甫尉迟公羊澹台公冶宗政濮阳淳于单于太叔申屠"
    "公孙仲孙轩辕令狐钟离宇文长孙慕容鲜于闾丘司徒司空亓官司寇子车颛孙端木巫马公西漆雕"
    "乐正壤驷公良拓跋夹谷宰父谷梁段干百里东郭南门呼延羊舌微生梁丘左丘东门西门南宫第五"
)

COMPOUND: frozenset[str] = frozenset(_PAIRS[at : at + 2] for at in range(0, len(_PAIRS), 2))

SINGLE: frozenset[str] = frozenset(
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏水窦章云苏潘葛奚范彭郎鲁韦昌马苗凤花方俞任袁柳酆鲍史唐"
    "费廉岑薛雷贺倪汤滕殷罗毕郝邬安常乐于时傅皮卞齐康伍余元卜顾孟平黄和穆萧尹姚邵湛汪祁毛禹狄米贝明臧计伏成戴谈宋茅庞熊纪舒屈项祝董梁"
    "杜阮蓝闵席季麻强贾路娄危江童颜郭梅盛林刁钟徐邱骆高夏蔡田樊胡凌霍虞万支柯昝管卢莫经房裘缪干解应宗丁宣贲邓郁单杭洪包诸左石崔吉钮龚"
    "程嵇邢滑裴陆荣翁荀羊於惠甄曲家封芮羿储靳汲邴糜松井段富巫乌焦巴弓牧隗山谷车侯宓蓬全郗班仰秋仲伊宫宁仇栾暴甘钭厉戎祖武符刘景詹束龙"
    "叶幸司韶郜黎蓟薄印宿白怀蒲邰从鄂索咸籍赖卓蔺屠蒙池乔阴鬱胥能苍双闻莘党翟谭贡劳逄姬申扶堵冉宰郦雍郤璩桑桂濮牛寿通边扈燕冀郏浦尚农"
    "温别庄晏柴瞿阎充慕连茹习宦艾鱼容向古易慎戈廖庾终暨居衡步都耿满弘匡国文寇广禄阙东欧殳沃利蔚越夔隆师巩厍聂晁勾敖融冷訾辛阚那简饶空"
    "曾毋沙乜养鞠须丰巢关蒯相查后荆红游竺权逯盖益桓公肖闫付代覃苟涂佟侍战迟初隋修边仝矫仉佘尉慈岳苑冼丘邸候海区卿占檀晋楚帅归铁亢植"
    "由信位操巨逢门原兰宝来言火院展税次刀舍户母寻战揭揣油犹阳阿买卯冶撒妥底虎锁拜喇摆闪朴玄太"
)
"""Single surnames: the Hundred Family Surnames and what registers of today add to them."""

COMMON_IN_ORDER = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏"
    "韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康葛伍岳齐庞邢洪樊翟关霍焦左柳鲁祝季管詹阮柴兰聂殷牛倪迟"
)
"""The surnames of nine people in ten, the most frequent first."""

COMMON: frozenset[str] = frozenset(COMMON_IN_ORDER)

ONLY_NAMES = (
    "王李刘陈赵吴周徐朱郭罗郑梁宋韩冯邓曹彭肖袁潘蔡苏魏吕沈姚卢崔谭廖贾韦邹熊秦尹薛闫侯陶贺龚邵覃莫孔葛伍岳庞邢翟霍詹阮聂倪董郝杨孙"
)
"""Surnames of these that are hardly ever a word by themselves."""

_OFFICIAL = (
    "万元万余万吨严重严格严禁任何任意任职余款余下余额史料叶片周边周围周期周转夏季孔洞季度季节安全安装安排庞大张贴张挂方面方法方案方向方可方式于是曾经杜绝林业林木林区"
    "林场柴油毛坯毛重江苏江西江河沈阳洪水洪灾温度温泉牛肉牛奶王牌田间白天白酒白班石油石材石膏石料程序程度罗列范围范本董事许多许诺谢绝郑州郑重金融金属金钱金额钟点钱款"
    "钱包钱财陆续陆路陈旧陈列陈述雷电韩国顾客顾问马路马上高度高于高处高温高危高速高校高压高空高档高价黄金黄酒管理管道管辖管制管网关于关闭关系关联关键左右左侧迟延迟报"
    "武汉苏州徐州唐山石家秦皇吴江康复向我向其向社"
)

NOT_NAMES: frozenset[str] = frozenset(_OFFICIAL[at : at + 2] for at in range(0, len(_OFFICIAL), 2))
"""Words of official texts that begin like a name; no list of names that people bear."""
