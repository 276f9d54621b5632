package inventory

import (
	"fmt"
	"strings"
	"testing"
)

// largeFleet returns an inventory of n hosts, one per line with labels, in groups of
// 500. Without ranges it is the slowest form to read.
func largeFleet(n int) []byte {
	var b strings.Builder
	b.WriteString("version: 1\ndefaults: {user: azureuser, certificate: \"certs/{name}.p12.b64\", labels: {tier: gold}}\ngroups:\n")
	for i := range n {
		if i%500 == 0 {
			fmt.Fprintf(&b, "  site-%d:\n    labels: {site: s%d}\n    hosts:\n", i/500, i/500)
		}
		fmt.Fprintf(&b, "      edr-%d: {address: 10.%d.%d.%d, labels: {rack: r%d}}\n", i, i>>16, i>>8&255, i&255, i%40)
	}
	return []byte(b.String())
}

func BenchmarkParse10000(b *testing.B) {
	data := largeFleet(10_000)
	b.ReportAllocs()
	for b.Loop() {
		inv, err := Parse("inv.yaml", data, testEnv)
		if err != nil || len(inv.Hosts) != 10_000 {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRange10000(b *testing.B) {
	data := []byte("version: 1\nhosts:\n  edr-[00001-10000]:\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("inv.yaml", data, testEnv); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSelect10000(b *testing.B) {
	inv, err := Parse("inv.yaml", largeFleet(10_000), testEnv)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inv.Select("site-1*:&rack=r[1-9]:!edr-[5000-5999]"); err != nil {
			b.Fatal(err)
		}
	}
}
