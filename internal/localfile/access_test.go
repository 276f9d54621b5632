package localfile

import (
	"slices"
	"testing"
)

// Only the user, the system and the administrators may have a right, as ssh on Windows has it.
func TestOthersIn(t *testing.T) {
	const self = "S-1-5-21-1-2-3-1001"
	for descriptor, want := range map[string][]string{
		"D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;" + self + ")":            nil,
		"D:PAI(A;ID;FA;;;S-1-5-18)(A;ID;0x1f01ff;;;" + self + ")":      nil,
		"D:AI(A;ID;FA;;;SY)(A;ID;0x1200a9;;;BU)(A;ID;0x1301bf;;;AU)":   {"Users", "Authenticated Users"},
		"D:(A;;FR;;;WD)(A;;FA;;;" + self + ")":                         {"Everyone"},
		"D:(D;;FA;;;WD)(A;;FA;;;" + self + ")":                         nil, // a denial
		"D:(A;OICIIO;GA;;;CO)(A;;FA;;;" + self + ")":                   nil, // for what is made in it
		"D:(A;;FA;;;S-1-5-21-1-2-3-1002)(A;;FR;;;S-1-5-21-1-2-3-1002)": {"S-1-5-21-1-2-3-1002"},
		"D:(XA;;FR;;;WD;(@User.Title==\"x\"))(A;;FA;;;" + self + ")":   {"Everyone"},
		"D:(A;;FA;;;LA)":          {"LA"}, // the built-in administrator, not this user
		"D:NO_ACCESS_CONTROL":     {"Everyone"},
		"O:SYG:SY":                {"Everyone"}, // no access list: all may do all
		"D:P":                     nil,          // an empty one: no one
		"O:BAG:BAD:P(A;;FA;;;BA)": nil,
	} {
		if got := othersIn(descriptor, self); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", descriptor, got, want)
		}
	}
	if got := othersIn("D:(A;;FA;;;LA)", "S-1-5-21-1-2-3-500"); got != nil {
		t.Errorf("the built-in administrator's own file: %q", got)
	}
}
