"""Other systems' template dialects: one file with one table each; `DIALECTS` names them all."""

from waypost.macros.dialects.adjust import ADJUST
from waypost.macros.dialects.admitad import ADMITAD
from waypost.macros.dialects.affise import AFFISE
from waypost.macros.dialects.appmetrica import APPMETRICA
from waypost.macros.dialects.appsflyer import APPSFLYER
from waypost.macros.dialects.binom import BINOM
from waypost.macros.dialects.branch import BRANCH
from waypost.macros.dialects.cake import CAKE
from waypost.macros.dialects.dialect import Dialect
from waypost.macros.dialects.everflow import EVERFLOW
from waypost.macros.dialects.generic import GENERIC
from waypost.macros.dialects.keitaro import KEITARO
from waypost.macros.dialects.kochava import KOCHAVA
from waypost.macros.dialects.singular import SINGULAR
from waypost.macros.dialects.tiktok import TIKTOK
from waypost.macros.dialects.tune import TUNE
from waypost.macros.dialects.voluum import VOLUUM

# Of several that fit equally, a guess takes the first.
NAMED: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        KEITARO, VOLUUM, BINOM, AFFISE, TUNE, EVERFLOW, BRANCH, SINGULAR, APPSFLYER, ADJUST, KOCHAVA, APPMETRICA,
        ADMITAD, CAKE, TIKTOK,
    )
}  # fmt: skip
DIALECTS: dict[str, Dialect] = NAMED | GENERIC
