package host

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sharedVariables are the variables that more than one part of the script may assign: all
// variables are global. The first are temporary, used with no function call in between;
// the others pass a result from one part to another.
var sharedVariables = strings.Fields(`
	changed checked count key offset taken total turn dir left legacy line me mode other random rest said status sum target text this tool value wait_until
	aliases base file_known file_state folders halted helper holder holder_name its_owner its_run kind live lock_wait log_kind named now_boot
	origin ours passing paths programs_start reals receipt replaced restarts shown_at shown_of state unit_asked unsafe unsure why
	bs conv if iflag of skip`) // the last are operands of dd(1)

// TestVariablesOfTheScript finds names that two parts of the script use for different
// things: such a fault shows only in some order of calls. The values of a call
// (reset_values) and the state of a verb (begin) belong to all parts.
func TestVariablesOfTheScript(t *testing.T) {
	assigned := regexp.MustCompile(`(?m)(?:^|[\s;&|({])([a-z_][a-z0-9_]*)=(?:[^*]|$)|\bread -r ([a-z_ ]+)|\bfor ([a-z_]+)\b`)
	comment, apostrophe := regexp.MustCompile(`(?m)^\s*#.*$`), regexp.MustCompile(`(\w)'(\w)|\\'`)
	quoted := regexp.MustCompile(`'[^']*'`) // programs of awk and other shells
	parts := map[string][]string{}          // by variable
	entries, err := scriptParts.ReadDir("script")
	if err != nil {
		t.Fatal(err)
	}
	known := slices.Clone(sharedVariables)
	for _, e := range entries {
		data, err := scriptParts.ReadFile("script/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := apostrophe.ReplaceAllString(comment.ReplaceAllString(string(data), ""), "$1$2")
		text = quoted.ReplaceAllString(text, "")
		for _, m := range assigned.FindAllStringSubmatch(text, -1) {
			for _, name := range strings.Fields(m[1] + " " + m[2] + " " + m[3]) {
				if !slices.Contains(parts[name], e.Name()) {
					parts[name] = append(parts[name], e.Name())
				}
			}
		}
		for _, function := range []string{"reset_values", "begin"} {
			_, body, _ := strings.Cut(text, "\n"+function+"() {")
			body, _, _ = strings.Cut(body, "}\n")
			for _, m := range regexp.MustCompile(`([a-z_]+)=`).FindAllStringSubmatch(body, -1) {
				known = append(known, m[1])
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if len(parts[name]) > 1 && !slices.Contains(known, name) {
			t.Errorf("%s is assigned in %s: give it another name, or note in sharedVariables that it is one variable", name, strings.Join(parts[name], ", "))
		}
	}
	for _, name := range sharedVariables {
		if len(parts[name]) < 2 {
			t.Errorf("%s is no longer shared", name)
		}
	}
}
