package docs

import "testing"

func TestSection(t *testing.T) {
	const document = "# T\nx\n## A\na\n### B\n#hash\n## C\nc\n"
	for heading, want := range map[string]string{"## A": "## A\na\n### B\n#hash\n", "### B": "### B\n#hash\n", "## C": "## C\nc\n", "## D": ""} {
		if got := Section(document, heading); got != want {
			t.Errorf("%s: %q, want %q", heading, got, want)
		}
	}
	for document, heading := range map[string]string{Reference: "## Exit codes", Inventory: "## Selectors"} {
		if len(Section(document, heading)) < 500 {
			t.Errorf("there is no section %s", heading)
		}
	}
}
