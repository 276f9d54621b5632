package inventory

import (
	"os"
	"strings"
	"testing"
)

// Every key of the schema is in docs/inventory.md.
func TestEveryKeyIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/inventory.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(allNames(fileKeys(), ""), allNames(hostKeys(), "")...) {
		section, last, nested := strings.Cut(name, ".")
		if !nested {
			last = section
		}
		if !strings.Contains(string(data), "`"+last+"`") && !strings.Contains(string(data), "`"+name+"`") {
			t.Errorf("%s is not in docs/inventory.md", name)
		}
	}
}

func allNames[T any](keys []key[T], prefix string) []string {
	var list []string
	for _, k := range keys {
		if k.keys == nil {
			list = append(list, prefix+k.name)
		}
		list = append(list, allNames(k.keys, prefix+k.name+".")...)
	}
	return list
}
