package report

import "testing"

// inOrder keeps the order of the list.
func TestInOrder(t *testing.T) {
	for text, names := range map[string][]string{
		"b-02, a-[01-02], b-01 (4 hosts)": {"b-02", "a-01", "a-02", "b-01"},
		"a-[1-2], a-10 (3 hosts)":         {"a-1", "a-2", "a-10"},
		"one":                             {"one"},
	} {
		if got := inOrder(names); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}
