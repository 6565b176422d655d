"""What the end of an installation takes along is named one by one."""

import pytest

from rollcast_common.errors import ConfigError
from rollcast_operator.kinds import NETWORK_POLICY, SECRET
from rollcast_operator.retiring import SlotSetting


def test_a_setting_is_named_by_namespace_kind_and_name() -> None:
    assert SlotSetting.parse("wines/secrets/rollcast-s3") == SlotSetting("wines", SECRET, "rollcast-s3")
    assert SlotSetting.parse("wines/networkpolicies/p") == SlotSetting("wines", NETWORK_POLICY, "p")


@pytest.mark.parametrize(
    "text", ["", "rollcast-s3", "secrets/rollcast-s3", "/secrets/x", "wines/secrets/", "wines/pods/x", "a/secrets/b/c"]
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--slot-setting was .*NAMESPACE/KIND/NAME.*configmaps, secrets"):
        SlotSetting.parse(text)
