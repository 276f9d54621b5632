package certificate

import (
	"crypto/sha1" // #nosec: for reading files that use it
	"crypto/x509/pkix"
	"runtime"
	"strings"
	"testing"
)

// TestShortDerivations: the limit of the time is for a file with many short key derivations
// too.
func TestShortDerivations(t *testing.T) {
	used := func() bool { return true }
	if key := pkcs12Key(sha1.New, forKey, nil, []byte("salt"), roundsAtOnce-1, 24, used); key != nil {
		t.Error("a key of PKCS#12 after the end of the time")
	}
	if key := pbkdf2Key(sha1.New, []byte("salt"), roundsAtOnce-1, 32, used); key != nil {
		t.Error("a key of PBKDF2 after the end of the time")
	}
}

// TestNameOfManyAttributes: a name of a megabyte takes no gigabytes.
func TestNameOfManyAttributes(t *testing.T) {
	for _, number := range []int{9, 10} { // of X.520; pkix has a field for 10
		sets := make(pkix.RDNSequence, 5000)
		for i := range sets {
			sets[i] = []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4 + number%2, number}, Value: "a"}}
		}
		sets = append(sets, []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "agent"}})
		var name pkix.Name
		name.FillFromRDNSequence(&sets)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		text := nameText(name)
		runtime.ReadMemStats(&after)
		if !strings.HasPrefix(text, "CN=agent") {
			t.Errorf("got %q", text)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("the text takes %d bytes", used)
		}
	}
}
