package codec

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
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
	first, second := ringOf(t, "first"), ringOf(t, "2025")
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

// A worker of a site has the key of that site only; the control worker has all, and takes nothing
// for an answer of a site that another one has sent, or that answers something else.
func TestToSite(t *testing.T) {
	a, b := New(ringOf(t, "site-a")), New(ringOf(t, "site-b"))
	control := New(together(ringOf(t, "control", "2025"), a.ring, b.ring))
	ask := func(c Converters, execution, activity string) *commonpb.Payload {
		p, err := c.ToSite("a", execution, activity).ToPayload("go")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	answer := func(c Converters, execution, activity string) *commonpb.Payload {
		return encode(t, Converters{Data: with(payloads{ring: c.ring, name: c.ring.names[0], to: binding("answer", execution, activity)})}, "done")
	}
	asked := func(c Converters, execution, activity string) converter.DataConverter {
		return with(payloads{ring: c.ring, name: c.ring.names[0], from: binding("ask", execution, activity)})
	}
	for name, c := range map[string]struct {
		p    *commonpb.Payload
		at   converter.DataConverter
		want string
	}{
		"request":                       {ask(control, "x", "1"), asked(a, "x", "1"), "go"},
		"request at another site":       {ask(control, "x", "1"), asked(b, "x", "1"), ""},
		"copy in another workflow":      {ask(control, "x", "1"), asked(a, "y", "1"), ""},
		"copy for another activity":     {ask(control, "x", "1"), asked(a, "x", "2"), ""},
		"request without binding":       {ask(control, "x", "1"), a.Data, ""},
		"answer":                        {answer(a, "x", "1"), control.ToSite("a", "x", "1"), "done"},
		"answer of another site":        {answer(b, "x", "1"), control.ToSite("a", "x", "1"), ""},
		"answer of another key":         {answer(control, "x", "1"), control.ToSite("a", "x", "1"), ""},
		"answer to another activity":    {answer(a, "x", "1"), control.ToSite("a", "x", "2"), ""},
		"answer in another workflow":    {answer(a, "x", "1"), control.ToSite("a", "y", "1"), ""},
		"request as answer":             {ask(control, "x", "1"), control.ToSite("a", "x", "1"), ""},
		"signal of a site":              {encode(t, a, "stop"), control.Data, ""},
		"signal of an operator":         {encode(t, New(together(ringOf(t, "2026"))), "stop"), control.Data, ""},
		"signal of a client":            {encode(t, Converters{Data: with(payloads{ring: control.ring, name: "2025"})}, "stop"), control.Data, "stop"},
		"to a site without its own key": {encode(t, Converters{Data: control.ToSite("c", "x", "1")}, "go"), asked(control, "x", "1"), "go"},
	} {
		var got string
		if err := c.at.FromPayload(c.p, &got); (err == nil) != (c.want != "") || got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := a.Failure.FailureToError(control.Failure.ErrorToFailure(errors.New("why"))); strings.Contains(err.Error(), "why") {
		t.Error("a site reads a failure of the control worker")
	}
	if err := control.Failure.FailureToError(a.Failure.ErrorToFailure(errors.New("why"))); !strings.Contains(err.Error(), "why") {
		t.Errorf("the text of a site's failure is not read: %v", err)
	}
}

// In an activity a worker's converter is the other end of ToSite.
func TestInActivity(t *testing.T) {
	site := New(ringOf(t, "site-a"))
	control := New(together(ringOf(t, "control"), site.ring))
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivityWithOptions(func(ctx context.Context) (string, error) {
		info, worker := activity.GetInfo(ctx), site.Data.(workflow.ContextAware).WithContext(ctx)
		at := control.ToSite("a", info.WorkflowExecution.RunID, info.ActivityID)
		p, err := at.ToPayload("it")
		var got string
		if err == nil {
			err = worker.FromPayload(p, &got)
		}
		if err == nil {
			p, err = worker.ToPayload(got + " is done")
		}
		if err == nil {
			err = at.FromPayload(p, &got)
		}
		return got, err
	}, activity.RegisterOptions{Name: "do"})
	var got string
	value, err := env.ExecuteActivity("do")
	if err != nil || value.Get(&got) != nil || got != "it is done" {
		t.Errorf("%q, %v", got, err)
	}
	if out := site.Data.(workflow.ContextAware).WithContext(context.Background()); out != site.Data {
		t.Error("another converter outside an activity")
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
