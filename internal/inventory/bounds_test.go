package inventory

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A small file, or one within the limit of size, is refused before it costs memory.
func TestExpansionsAreBounded(t *testing.T) {
	const tooMany = "more than 1500000 keys and values"
	const noHosts = "version: 1\nhosts: {a: }\n"
	lines := strings.Repeat(" h:\n", 2_000_000)
	nested := ""
	for c := 'b'; c <= 'i'; c++ {
		nested += fmt.Sprintf(", %c: &%c [%s]", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9))
	}
	var labels strings.Builder
	for i := range 65 {
		fmt.Fprintf(&labels, "l%d: x, ", i)
	}
	for name, c := range map[string]struct{ text, want string }{
		"two million hosts":             {"version: 1\nhosts:\n" + lines, tooMany},
		"in one line":                   {"version: 1\nhosts: {" + strings.Repeat("h,", 1_500_000) + "}\n", tooMany},
		"a list":                        {"[" + strings.Repeat("a,", 2_000_000) + "]\n", tooMany},
		"line ends of YAML only":        {"version: 1\nhosts:\n" + strings.Repeat(" h:\u0085", 2_000_000), tooMany},
		"comments":                      {noHosts + strings.Repeat("#\n", 2_000_000), tooMany},
		"documents":                     {noHosts + strings.Repeat("---\n", 2_000_000), tooMany},
		"nested":                        {noHosts + strings.Repeat("[", 2_000_000), tooMany},
		"a range":                       {"version: 1\nhosts:\n  vm-[1-2000000]:\n", "more than 100000 hosts"},
		"a range of twenty digits":      {"version: 1\nhosts:\n  vm-[0-18446744073709551615]:\n", "is not a range"},
		"aliases of aliases":            {"version: 1\nx: {a: &a [" + strings.Repeat("y,", 9) + "]" + nested + "}\nhosts: {a: *i}\n", "YAML anchors (&name) are not read"},
		"ranges that multiply":          {"version: 1\nhosts:\n  vm" + strings.Repeat("[0-9]", 50) + ":\n", "more than 100000 hosts"},
		"ranges that add up":            {"version: 1\nhosts:\n  a[1-60000]:\n  b[1-60000]:\n", "more than 100000 hosts"},
		"labels that every host copies": {"version: 1\ndefaults: {labels: {" + labels.String() + "}}\nhosts: {a: }\n", "labels has more than 64 labels"},
		"{name} that every host copies": {"version: 1\ndefaults: {certificate: \"" + strings.Repeat("{name}", 5) + "\"}\nhosts: {a: }\n", "certificate has {name} more than 4 times"},
		"patterns":                      {noHosts + "defaults: {health: {deny: [" + strings.Repeat("a,", 1001) + "]}}\n", "health.deny has more than 1000 entries"},
		"batches":                       {noHosts + "rollout: {batch: [" + strings.Repeat("1,", 1001) + "]}\n", "rollout.batch has more than 1000 entries"},
		"keys":                          {noHosts + "defaults: {identity_file: [" + strings.Repeat("a,", 1001) + "]}\n", "identity_file has more than 1000 entries"},
		"fingerprints":                  {noHosts + "defaults: {host_key_fingerprint: [" + strings.Repeat("a,", 1001) + "]}\n", "host_key_fingerprint has more than 1000 entries"},
		"an unknown alias":              {"version: 1\nhosts: {a: *" + strings.Repeat("x", 1_000_000) + "}\n", "YAML aliases (*name) are not read"},
		"a long line":                   {"version: 1\nhosts: {a[1-2]" + strings.Repeat("h", 2_000_000) + ": }\n", "not valid YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			bytes := allocated(func() { _, err = Parse("inv.yaml", []byte(c.text), testEnv) })
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 5000 {
				t.Errorf("got %.300v, want %s", err, c.want)
			}
			if bytes > 200<<20 { // the text, its copies, and at most the largest fleet
				t.Errorf("%d bytes are allocated for %d bytes of text", bytes, len(c.text))
			}
		})
	}
}

// The largest fleet is within the limits: with a line and a label for each host, and as
// JSON, which is YAML too.
func TestLargestFleetIsWithinLimits(t *testing.T) {
	if !newTestReader(t).fewItems(largeFleet(maxHosts)) {
		t.Error("a line for each host is refused")
	}
	var b strings.Builder
	b.WriteString("{\"version\": 1, \"hosts\": {")
	for i := range maxHosts {
		fmt.Fprintf(&b, "\n  \"edr-%d\": {\n    \"user\": \"u\",\n    \"labels\": {\"a\": \"b\"}\n  },", i)
	}
	b.WriteString("}}")
	if !newTestReader(t).fewItems([]byte(b.String())) {
		t.Error("JSON is refused")
	}
}

func newTestReader(t *testing.T) *reader {
	t.Helper()
	r, err := newReader("inv.yaml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// However it is written, a node of the YAML library is counted, at least as half an item.
func TestItemsCountNodes(t *testing.T) {
	for _, form := range []string{"- a\n", "? a\n", "a%d:\n", "a%d: b\n", "- - - a\n", "- {a}\n", "- [a]\n", "- {a: b, c: d}\n", "- [a: b, c: d]\n", "- [\"a\":b,\"c\":d]\n",
		"- {\"a\":\"b\",\"c\":\"d\"}\n", "- {{{{{{a}}}}}}\n", "- ? ? ? ? a\n", "- ? - ? - a\n", "- {[{[{[a]}]}]}\n", "a%d:\u0085", "-\u0085 a\u0085", "a%d:\r", "- |\n  x\n", "- [? a, ? b]\n"} {
		var text bytes.Buffer
		for i := range 500 {
			text.WriteString(strings.ReplaceAll(form, "%d", fmt.Sprint(i)))
		}
		doc, err := next(yaml.NewDecoder(bytes.NewReader(text.Bytes())))
		if err != nil {
			t.Errorf("%q: %v", form, err)
			continue
		}
		if nodes, items := count(doc), itemsIn(text.Bytes()); nodes > 2*items+2 || items > 4*nodes {
			t.Errorf("%q: %d nodes, %d items", form, nodes, items)
		}
	}
}

func count(n *yaml.Node) int {
	sum := 1
	for _, c := range n.Content {
		sum += count(c)
	}
	return sum
}

func itemsIn(text []byte) (sum int) {
	for i := range text {
		sum += itemsAt(text, i)
	}
	return sum
}

// A selector costs no more than its hosts, however long it is.
func TestSelectorsAreBounded(t *testing.T) {
	inv := parse(t, "version: 1\nhosts:\n  vm-[1-500]: {labels: {a: b}}\n")
	for limit, want := range map[string]string{
		"all" + strings.Repeat(",all", 30_000):        "",
		"vm-1" + strings.Repeat(",a=b", 30_000):       "",
		"all" + strings.Repeat(":&all:!vm-1", 10_000): "",
		strings.Repeat("*", 100_000):                  "the name is longer than 1024 bytes",
		"vm-*" + strings.Repeat("*", 1000):            "",
		"all" + eachOf(2000, ",vm-%d*"):               "more than 1000 globs",
		"all" + eachOf(500, ",vm-%d"):                 "",
		"nothing-0" + eachOf(2000, ",vn-%d"):          "no host or group has this name",
		"vm-" + strings.Repeat("[1-999999999]", 20):   "no host or group has this name",
		"a=" + strings.Repeat("x", maxText) + "*":     "the name is longer than 1024 bytes",
	} {
		var err error
		bytes := allocated(func() { _, err = inv.Select(limit) })
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.40s: got %.200v, want %s", limit, err, want)
		}
		if bytes > 160<<20 {
			t.Errorf("%.40s: %d bytes are allocated", limit, bytes)
		}
	}
}

func eachOf(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i+1)
	}
	return b.String()
}
