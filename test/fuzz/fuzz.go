// Package fuzz has the properties that the fuzz targets of the program share.
package fuzz

import (
	"errors"
	"runtime/metrics"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Line fails t if a text is not one printable line in UTF-8 of at most most bytes.
func Line(t testing.TB, text string, most int) {
	t.Helper()
	if len(text) > most {
		t.Errorf("%d bytes, at most %d are allowed: %.100q…", len(text), most, text)
	}
	if !utf8.ValidString(text) {
		t.Errorf("not UTF-8: %.200q", text)
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			t.Errorf("%q in %.200q", r, text)
			return
		}
	}
}

// Problem fails t if an error is no *problem.Error with a class and a message whose texts are
// each one line of at most most bytes.
func Problem(t testing.TB, err error, most int) {
	t.Helper()
	var p *problem.Error
	if !errors.As(err, &p) || p.Class == "" || p.Message == "" {
		t.Errorf("not a complete problem: %#v", err)
		return
	}
	Line(t, p.Message, most)
	Line(t, p.Hint, most)
}

// hangs is the time after which f of Bounded is taken for endless: go test has no limit for
// an input of a fuzz target.
const hangs = time.Minute

// Bounded fails t if f allocates more than most bytes, which stands for memory and time, but
// does not depend on the load of the machine. It panics if f does not end. Other goroutines
// of the process must not allocate meanwhile.
func Bounded(t testing.TB, most int, f func()) {
	t.Helper()
	watch := time.AfterFunc(hangs, func() { panic("the input takes more than " + hangs.String()) })
	defer watch.Stop()
	before := allocated()
	f()
	if took := allocated() - before; took > uint64(most) {
		t.Errorf("%d bytes allocated, at most %d are allowed", took, most)
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
