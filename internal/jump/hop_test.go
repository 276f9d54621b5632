package jump

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/fuzz"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Hop{
		"bastion":           {Host: "bastion"},
		"b:22":              {Host: "b", Port: 22},
		"b:022":             {Host: "b", Port: 22},
		"me@b":              {Host: "b", User: "me"},
		"me@corp@b:2222":    {Host: "b", User: "me@corp", Port: 2222},
		"fd00::1":           {Host: "fd00::1"},
		"[fd00::1]":         {Host: "fd00::1"},
		"me@[fd00::1]:2222": {Host: "fd00::1", User: "me", Port: 2222},
		"":                  {},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, part := range map[string]string{
		"@b": "user", "-oX@b": "user", "a b@c": "user", "a\x1b@c": "user",
		"b:": "port", "b:0": "port", "b:65536": "port", "b:+22": "port", "b:x": "port",
	} {
		if got, err := Parse(text); err == nil || !strings.Contains(err.Error(), part) || got != (Hop{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestString(t *testing.T) {
	for _, text := range []string{"bastion", "b:22", "me@b", "[fd00::1]", "me@[fd00::1]:2222"} {
		if hop, err := Parse(text); err != nil || hop.String() != text {
			t.Errorf("%q: %q, %v", text, hop.String(), err)
		}
	}
}

// FuzzParse: an accepted hop survives String and Parse, and an error quotes nothing.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"bastion", "me@corp@b:2222", "me@[fd00::1]:2222", "fd00::1", "[b]", "[b]:1", "ssh://u%40x;y@h:2/", "ssh://h", "b:022", "@b", "ssh://u:p@h", "\x1b@b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		hop, err := Parse(text)
		if err != nil {
			fuzz.Line(t, err.Error(), 120)
			if hop != (Hop{}) {
				t.Errorf("%q: %+v", text, hop)
			}
			return
		}
		if hop.Port < 0 || hop.Port > 65535 || hop.User != "" && CheckUser(hop.User) != nil {
			t.Errorf("%q: %+v", text, hop)
		}
		if hop.Host == "" || hop.Host[0] == '-' || strings.ContainsAny(hop.Host, " \t/[]@,") {
			return // callers refuse it
		}
		if again, err := Parse(hop.String()); err != nil || again != hop {
			t.Errorf("%q: %+v became %+v, %v", text, hop, again, err)
		}
	})
}
