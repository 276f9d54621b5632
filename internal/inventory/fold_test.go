package inventory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestFold(t *testing.T) {
	tests := []struct{ names, want string }{
		{"", ""},
		{"a", "a"},
		{"edr-01", "edr-01"},
		{"edr-01 edr-02 edr-03", "edr-[01-03]"},
		{"edr-03 edr-01 edr-02", "edr-[01-03]"},
		{"edr-01 edr-03", "edr-01 edr-03"},
		{"edr-9 edr-10 edr-11", "edr-9 edr-[10-11]"},
		{"edr-09 edr-10", "edr-[09-10]"},
		{"edr-1 edr-01", "edr-1 edr-01"},
		{"vm1-a vm2-a vm1-b", "vm[1-2]-a vm1-b"},
		{"rack1-vm1 rack1-vm2 rack2-vm1", "rack1-vm[1-2] rack2-vm1"},
		{"bastion b2 b1", "b[1-2] bastion"},
		{"h123456788 h123456789", "h[123456788-123456789]"},
		{"h1234567890 h1234567891", "h1234567890 h1234567891"}, // too many digits for a number
		{"7 8", "[7-8]"},
	}
	for _, tt := range tests {
		if got := strings.Join(Fold(strings.Fields(tt.names)), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.names, got, tt.want)
		}
	}
}

// --limit selects exactly the names that were folded, whatever else is in the inventory.
func TestFoldIsReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		all := randomNames(random)
		inv := inventoryWith(t, all)
		var picked []string
		for _, name := range all {
			if random.IntN(2) == 0 {
				picked = append(picked, name)
			}
		}
		if len(picked) == 0 {
			continue
		}
		limit := strings.Join(Fold(picked), ",")
		selected, err := inv.Select(limit)
		if err != nil {
			t.Fatalf("%s: %v", limit, err)
		}
		var got []string
		for _, h := range selected {
			got = append(got, h.Name)
		}
		if !slices.Equal(got, picked) {
			t.Fatalf("%s selects\n%v, want\n%v\nof %v", limit, got, picked, all)
		}
	}
}

func randomNames(random *rand.Rand) []string {
	stems := []string{"edr-%d", "edr-%02d", "vm%03d.example.net", "r1-s%d-b", "%d", "host", "host.%d"}
	seen := map[string]bool{}
	var names []string
	for range 1 + random.IntN(40) {
		name := stems[random.IntN(len(stems))]
		if strings.Contains(name, "%") {
			name = fmt.Sprintf(name, random.IntN(15))
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

func inventoryWith(t *testing.T, names []string) *Inventory {
	t.Helper()
	var b strings.Builder
	b.WriteString("version: 1\nhosts:\n")
	for i, name := range names {
		fmt.Fprintf(&b, "  %q: {address: 192.0.2.%d}\n", name, i+1)
	}
	inv, err := Parse("i.yaml", []byte(b.String()), Env{User: "u", Home: "/home/u"})
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

// Folding loses no name and adds none.
func FuzzFold(f *testing.F) {
	f.Add("edr-1 edr-2 x 9 09 a1b 18446744073709551616")
	f.Add("a-0 a-00 a-000000001 a-000000002")
	f.Fuzz(func(t *testing.T, text string) {
		names := strings.Fields(strings.ReplaceAll(text, "\x00", " "))
		if strings.ContainsAny(text, "[]") {
			return // no host name contains brackets
		}
		slices.Sort(names)
		names = slices.Compact(names)
		var unfolded []string
		for _, folded := range Fold(names) {
			unfolded = append(unfolded, unfold(t, folded)...)
		}
		slices.Sort(unfolded)
		if !slices.Equal(unfolded, names) {
			t.Errorf("%q became %q", names, unfolded)
		}
	})
}

func unfold(t *testing.T, text string) []string {
	head, rest, found := strings.Cut(text, "[")
	if !found {
		return []string{text}
	}
	numbers, tail, _ := strings.Cut(rest, "]")
	first, last, _ := strings.Cut(numbers, "-")
	var from, to int
	if _, err := fmt.Sscanf(first+" "+last, "%d %d", &from, &to); err != nil {
		t.Fatal(text, err)
	}
	var names []string
	for n := from; n <= to; n++ {
		names = append(names, fmt.Sprintf("%s%0*d%s", head, len(first), n, tail))
	}
	return names
}

// Where the order matters only neighbours that count up by one are folded.
func TestFoldInOrder(t *testing.T) {
	tests := []struct{ names, want string }{
		{"", ""},
		{"a", "a"},
		{"a b", "a b"},
		{"edr-03 edr-01 edr-02", "edr-03 edr-[01-02]"},
		{"edr-03 edr-02 edr-01", "edr-03 edr-02 edr-01"},
		{"edr-1 edr-2 mcc-3 edr-3", "edr-[1-2] mcc-3 edr-3"},
		{"edr-1 edr-2 edr-03", "edr-[1-2] edr-03"},
		{"edr-1 edr-3", "edr-1 edr-3"},
		{"edr-1 edr-1", "edr-1 edr-1"},
	}
	for _, tt := range tests {
		if got := strings.Join(FoldInOrder(strings.Fields(tt.names)), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.names, got, tt.want)
		}
	}
}

func TestHostCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 hosts", 1: "1 host", 12: "12 hosts"} {
		if got := HostCount(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
