package azure

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestVendorText(t *testing.T) {
	for body, want := range map[string]vendor{
		`{"error":"invalid_client","error_description":"AADSTS700027: no.\r\nTrace ID: x"}`:                        {"AADSTS700027", "", "AADSTS700027: no. Trace ID: x"},
		`{"error":"invalid_request","error_description":"nothing more"}`:                                           {"invalid_request", "", "nothing more"},
		`{"error":{"code":"Forbidden","message":"Client\r\naddress","innererror":{"code":"ForbiddenByFirewall"}}}`: {"Forbidden", "ForbiddenByFirewall", "Client address"},
		`{"error":{"code":"x","message":"a https://h/?sv=1&sig=abc%2Fd&x=1 b"}}`:                                   {"x", "", "a https://h/?sv=1&(…)&x=1 b"},
		`{"error":{"code":"x","message":"url=h%3Fsv%3D1%26sig%3Dabc%252Fd b"}}`:                                    {"x", "", "url=h%3Fsv%3D1(…) b"},
		`{"error":{"code":"x","message":"` + strings.Repeat("QUJD", 40) + `"}}`:                                    {"x", "", "(…)"},
		`{"error":{"code":7}}`: {}, `{"error":[]}`: {}, `[]`: {}, ``: {}, `<html>`: {}, `{"value":"secret"}`: {},
	} {
		if got := vendorText([]byte(body)); got != want {
			t.Errorf("%s:\n%q, want\n%q", body, got, want)
		}
	}
}

// Whatever a service says, it is one short line that a terminal can show.
func FuzzVendorText(f *testing.F) {
	f.Add([]byte(`{"error":"invalid_client","error_description":"AADSTS700027: no."}`))
	f.Add([]byte(`{"error":{"code":"Forbidden","message":"m","innererror":{"code":"c"}}}`))
	f.Add([]byte("{\"error_description\":\"\\u001b[2J\\u202e eyJhbGciOiJub25lIn0.e30.\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		v := vendorText(body)
		for _, s := range []string{v.code, v.inner, v.message} {
			if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", s)
			}
		}
	})
}

// What Graph sends as a key never stops the program, and is kept as it came.
func FuzzKey(f *testing.F) {
	f.Add([]byte(`{"keyId":"k","key":"AAAA","startDateTime":"2026-01-01T00:00:00Z","customKeyIdentifier":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw map[string]json.RawMessage
		if json.Unmarshal(text, &raw) != nil {
			return
		}
		k, err := keyOf(raw)
		if err != nil {
			return
		}
		o := Object{Keys: []Key{k}}
		if list := o.with(nil, nil); len(list) != 1 || list[0]["key"] != nil || list[0]["keyId"] == nil {
			t.Errorf("%+v", list)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "99999999": 24 * time.Hour,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second, "Mon, 23 Nov 9999 12:00:30 GMT": 24 * time.Hour, "Mon, 23 Nov 2026 11:00:30 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %s", value, got)
		}
	}
}
