package codec

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// ringOf returns a keyring of new keys.
func ringOf(t testing.TB, names ...string) *Keyring {
	t.Helper()
	var text strings.Builder
	for _, name := range names {
		line, err := NewKey(name)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(line)
	}
	ring, err := Parse(text.String())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// together returns the keyring with all keys of some.
func together(rings ...*Keyring) *Keyring {
	all := &Keyring{keys: map[string]cipher.AEAD{}}
	for _, ring := range rings {
		all.names = append(all.names, ring.names...)
		for name, key := range ring.keys {
			all.keys[name] = key
		}
	}
	return all
}

// renamed returns a keyring that has a key of another as "renamed".
func renamed(ring *Keyring, name string) *Keyring {
	return &Keyring{names: []string{"renamed"}, keys: map[string]cipher.AEAD{"renamed": ring.keys[name]}}
}

type look struct{ Host, Log string }

func encode(t testing.TB, c Converters, value any) *commonpb.Payload {
	t.Helper()
	p, err := c.Data.ToPayload(value)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What one keyring encrypts, each keyring with that key decrypts, and nothing of it is to be
// seen in between; also not of an error.
func TestRoundTrip(t *testing.T) {
	first, second := ringOf(t, "first"), ringOf(t, "site-a")
	value := look{Host: "vm-042.example", Log: strings.Repeat("the agent runs ", 1000)}
	for name, c := range map[string]struct{ from, to Converters }{
		"same keyring": {New(first), New(first)},
		"second key":   {New(second), New(together(first, second))},
		"lab":          {New(nil), New(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			p := encode(t, c.from, value)
			wire, err := proto.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(wire, []byte("vm-042")) || bytes.Contains(wire, []byte("json")) || len(wire) > 500 {
				t.Errorf("%d bytes: %q", len(wire), wire)
			}
			var got look
			if err := c.to.Data.FromPayload(p, &got); err != nil || got != value {
				t.Errorf("%+v, %v", got, err)
			}
			failure := c.from.Failure.ErrorToFailure(temporal.NewApplicationError("vm-042.example is unhealthy", "sick", value))
			if text := failure.String(); strings.Contains(text, "vm-042") {
				t.Error(text)
			}
			back := c.to.Failure.FailureToError(failure)
			var sick *temporal.ApplicationError
			if !errors.As(back, &sick) || !strings.Contains(back.Error(), "vm-042.example is unhealthy") {
				t.Fatal(back)
			}
			if err := sick.Details(&got); err != nil || got != value {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A payload that is not from a program with one of the keys is refused, whatever is wrong with
// it; so is one that was changed on the server.
func TestRefused(t *testing.T) {
	ring, other := ringOf(t, "first", "second"), ringOf(t, "first")
	sealed := encode(t, New(ring), look{Host: "vm-042"})
	change := func(edit func(*commonpb.Payload)) *commonpb.Payload {
		p := proto.Clone(sealed).(*commonpb.Payload)
		edit(p)
		return p
	}
	plain, err := converter.GetDefaultDataConverter().ToPayload(look{Host: "vm-042"})
	if err != nil {
		t.Fatal(err)
	}
	large, err := proto.Marshal(&commonpb.Payload{Data: make([]byte, maxPlain+1-5)}) // 5: the field's number and length
	if err != nil || len(large) != maxPlain+1 {
		t.Fatal(len(large), err)
	}
	bomb := &commonpb.Payload{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encodingSealed), metadataKey: []byte("first")},
		Data:     ring.keys["first"].Seal(nil, nil, deflate(large), bound("first")),
	}
	for name, c := range map[string]struct {
		p    *commonpb.Payload
		ring *Keyring
		want string
	}{
		"not encrypted":         {plain, ring, "is not encrypted"},
		"compressed only":       {encode(t, New(nil), "x"), ring, "is not encrypted"},
		"no metadata":           {&commonpb.Payload{}, ring, "is not encrypted"},
		"encrypted, for a lab":  {sealed, nil, "runs with --plaintext"},
		"plain, for a lab":      {plain, nil, "unknown encoding"},
		"another key, its name": {sealed, other, "was not encrypted with the key first of the keyring"},
		"unknown key":           {encode(t, New(ringOf(t, "third")), "x"), ring, "encrypted with the key third, which is not in the keyring"},
		"a name to print":       {change(func(p *commonpb.Payload) { p.Metadata[metadataKey] = []byte("\x1b[31m") }), ring, "a key without a valid name"},
		"another of its keys":   {change(func(p *commonpb.Payload) { p.Metadata[metadataKey] = []byte("second") }), ring, "or has changed"},
		"its key renamed":       {sealed, renamed(ring, "first"), "which is not in the keyring"},
		"another name for it":   {change(func(p *commonpb.Payload) { p.Metadata[metadataKey] = []byte("renamed") }), renamed(ring, "first"), "or has changed"},
		"one bit":               {change(func(p *commonpb.Payload) { p.Data[len(p.Data)/2] ^= 1 }), ring, "or has changed"},
		"cut":                   {change(func(p *commonpb.Payload) { p.Data = p.Data[:5] }), ring, "or has changed"},
		"nothing":               {change(func(p *commonpb.Payload) { p.Data = nil }), ring, "or has changed"},
		"unpacks to too much":   {bomb, ring, "is damaged"},
		"not zlib, for a lab":   {&commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encodingPlain)}, Data: []byte("x")}, nil, "is damaged"},
	} {
		var got any
		err := New(c.ring).Data.FromPayload(c.p, &got)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\x1b") || got != nil || !problem.Is(err, problem.Unexpected) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// What is too large to be decoded is not encoded.
func TestTooLarge(t *testing.T) {
	if _, err := New(nil).Data.ToPayload(make([]byte, maxPlain)); err == nil || !strings.Contains(err.Error(), "is larger than") {
		t.Error(err)
	}
}

// The same value never gives the same payload twice: each has its own nonce.
func TestNonce(t *testing.T) {
	c := New(ringOf(t, "first"))
	seen := map[string]bool{}
	for range 1000 {
		nonce := string(encode(t, c, "x").Data[:12])
		if seen[nonce] {
			t.Fatal("a nonce was used twice")
		}
		seen[nonce] = true
	}
}

// A worker of a site has the key of that site only; the control worker has all.
func TestFor(t *testing.T) {
	site := ringOf(t, "site-a")
	control := New(together(ringOf(t, "control"), site))
	to, found := control.For("site-a")
	if !found {
		t.Fatal("no key")
	}
	var got string
	if err := New(site).Data.FromPayload(encode(t, to, "go"), &got); err != nil || got != "go" {
		t.Errorf("to the site: %q, %v", got, err)
	}
	if err := to.Data.FromPayload(encode(t, New(site), "done"), &got); err != nil || got != "done" {
		t.Errorf("from the site: %q, %v", got, err)
	}
	if err := New(site).Data.FromPayload(encode(t, control, "other"), &got); err == nil {
		t.Error("the site decrypts what is not for it")
	}
	if _, found := control.For("site-b"); found {
		t.Error("a key that is not there is found")
	}
	if _, found := New(nil).For("site-a"); found {
		t.Error("a lab has a key")
	}
}

// No key is printed, however a keyring is.
func TestKeysAreNotPrinted(t *testing.T) {
	line, err := NewKey("first")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	encoded := strings.Fields(line)[1]
	text := fmt.Sprintf("%v %+v %#v %+v", ring, *ring, ring, New(ring))
	if strings.Contains(text, encoded[:12]) || !strings.Contains(text, "first") {
		t.Error(text)
	}
}

// FuzzDecode: whatever a server sends, decoding ends, with bounded memory, and accepts with a
// keyring only what its keys have sealed; what a key has sealed comes back unchanged, and with
// what it was sealed over a wrong text is an error.
func FuzzDecode(f *testing.F) {
	ring := ringOf(f, "first", "second")
	sealed := encode(f, New(ring), look{Host: "vm-042"})
	f.Add([]byte(encodingSealed), []byte("first"), sealed.Data)
	f.Add([]byte(encodingPlain), []byte(nil), deflate([]byte("x")))
	f.Add([]byte("json/plain"), []byte("second"), []byte(`{"Host":"vm"}`))
	f.Fuzz(func(t *testing.T, encoding, key, data []byte) {
		p := &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: encoding, metadataKey: key}, Data: data}
		closed, lab := &payloads{ring: ring, name: "first"}, &payloads{}
		if _, err := closed.decode(p); err == nil && !proto.Equal(p, sealed) {
			t.Fatal("a payload was accepted that no key has sealed")
		}
		_, _ = lab.decode(p)
		inside := &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encodingSealed), metadataKey: []byte("first")},
			Data: ring.keys["first"].Seal(nil, nil, data, bound("first"))}
		_, _ = closed.decode(inside) // a program with the key is broken: any text may be within
		for _, c := range []*payloads{closed, lab} {
			out, err := c.encode(p)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := c.decode(out); err != nil || !proto.Equal(back, p) {
				t.Fatalf("%v, %v", back, err)
			}
		}
	})
}

// BenchmarkEncode: the looks of 100 hosts.
func BenchmarkEncode(b *testing.B) {
	c := New(ringOf(b, "first"))
	var looks []look
	for i := range 100 {
		text := make([]byte, 200)
		_, _ = rand.Read(text[:20])
		looks = append(looks, look{Host: fmt.Sprintf("vm-%03d", i), Log: fmt.Sprintf("%x", text)})
	}
	for b.Loop() {
		encode(b, c, looks)
	}
}
