// Package codec encrypts what is stored on a Temporal server: the inputs and results of
// workflows and activities, signals, answers of queries, and the texts of errors. A payload is
// compressed (zlib) and then sealed (AES-256-GCM); the name of its key travels with it.
//
// A key called site-NAME is that of one site: what it has encrypted counts only as from or to that
// site, so that the workers of a site can speak for no other. What is between a workflow and an
// activity is bound to both: the copy of a request or an answer is refused anywhere else.
//
// The lengths of payloads, the names of workflows, activities, task queues and keys, and times
// are not hidden.
package codec

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const (
	// maxPlain bounds what is unpacked of a payload, in bytes. A server accepts 2 MiB.
	maxPlain = 64 << 20

	encodingSealed = "binary/encrypted"  // as in Temporal's samples
	encodingPlain  = "binary/zlib"       // of the SDK's own zlib codec
	metadataKey    = "encryption-key-id" // as in Temporal's samples

	sitePrefix = "site-" // of the names of the keys of sites
)

// Converters are the two converters of a client of Temporal.
type Converters struct {
	Data    converter.DataConverter
	Failure converter.FailureConverter
	ring    *Keyring
}

// New returns converters that encrypt with the first key of a keyring, and refuse what it has not
// encrypted: with the key of a site they accept that one only, with another those of no site. With
// nil they compress only, for a lab, and refuse what is encrypted.
func New(ring *Keyring) Converters {
	name := ""
	if ring != nil {
		name = ring.names[0]
	}
	c := Converters{Data: &dataConverter{with(payloads{ring: ring, name: name}), ring, name}, ring: ring}
	// The text of a failure is only shown, and the SDK has one converter for those of all sites.
	texts := with(payloads{ring: ring, name: name, any: true})
	c.Failure = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: texts, EncodeCommonAttributes: true})
	return c
}

// ToSite returns the converter between a workflow and one activity of a site, for
// workflow.WithDataConverter: with the site's key if the keyring has it, or as New.
func (c Converters) ToSite(site, execution, activity string) converter.DataConverter {
	p := payloads{ring: c.ring, to: binding("ask", execution, activity), from: binding("answer", execution, activity)}
	if c.ring != nil {
		if p.name = sitePrefix + site; c.ring.keys[p.name] == nil {
			p.name = c.ring.names[0]
		}
	}
	return with(p)
}

func binding(what, execution, activity string) string {
	return "\x00" + what + "\x00" + execution + "\x00" + activity
}

func with(p payloads) converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), &p)
}

// dataConverter is a converter that in an activity is the other end of ToSite.
type dataConverter struct {
	converter.DataConverter
	ring *Keyring
	name string
}

var _ workflow.ContextAware = (*dataConverter)(nil)

// WithWorkflowContext implements workflow.ContextAware.
func (c *dataConverter) WithWorkflowContext(workflow.Context) converter.DataConverter { return c }

// WithContext implements workflow.ContextAware.
func (c *dataConverter) WithContext(ctx context.Context) converter.DataConverter {
	if !activity.IsActivity(ctx) {
		return c
	}
	info := activity.GetInfo(ctx)
	in := info.WorkflowExecution.RunID
	return with(payloads{ring: c.ring, name: c.name, to: binding("answer", in, info.ActivityID), from: binding("ask", in, info.ActivityID)})
}

// payloads is a converter.PayloadCodec.
type payloads struct {
	ring *Keyring // nil: compress only
	name string   // of the key that encrypts
	any  bool     // what any key of the ring has encrypted is accepted
	to   string   // what is encrypted is bound to this
	from string   // and what is decrypted must be to this
}

// accepts reports whether a payload of the key may be from where payloads are expected.
func (c *payloads) accepts(name string) bool {
	ofSite := func(name string) bool { return strings.HasPrefix(name, sitePrefix) }
	return c.any || name == c.name || !ofSite(name) && !ofSite(c.name)
}

// Encode implements converter.PayloadCodec.
func (c *payloads) Encode(in []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return each(in, c.encode)
}

// Decode implements converter.PayloadCodec. The error is a *problem.Error of class unexpected that
// contains nothing of the payload.
func (c *payloads) Decode(in []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return each(in, c.decode)
}

func each(in []*commonpb.Payload, do func(*commonpb.Payload) (*commonpb.Payload, error)) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(in))
	for i, p := range in {
		var err error
		if out[i], err = do(p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *payloads) encode(p *commonpb.Payload) (*commonpb.Payload, error) {
	plain, err := proto.Marshal(p)
	if err != nil {
		return nil, err
	}
	if len(plain) > maxPlain {
		return nil, problem.New(problem.Internal, "", "a payload is larger than %d bytes", maxPlain)
	}
	data := deflate(plain)
	if c.ring == nil {
		return &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encodingPlain)}, Data: data}, nil
	}
	return &commonpb.Payload{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encodingSealed), metadataKey: []byte(c.name)},
		Data:     c.ring.keys[c.name].Seal(nil, nil, data, bound(c.name+c.to)),
	}, nil
}

func (c *payloads) decode(p *commonpb.Payload) (*commonpb.Payload, error) {
	data, err := c.open(p)
	if err != nil {
		return nil, err
	}
	plain, err := inflate(data)
	if err != nil {
		return nil, refused("", "a payload is damaged")
	}
	inner := &commonpb.Payload{}
	if proto.Unmarshal(plain, inner) != nil { // its error may quote the payload
		return nil, refused("", "a payload is damaged")
	}
	return inner, nil
}

// open returns the compressed text of a payload.
func (c *payloads) open(p *commonpb.Payload) ([]byte, error) {
	encoding, name := string(p.GetMetadata()[converter.MetadataEncoding]), string(p.GetMetadata()[metadataKey])
	switch {
	case c.ring == nil && encoding == encodingPlain:
		return p.GetData(), nil
	case c.ring == nil && encoding == encodingSealed:
		return nil, refused("start it with the payload keys", "a payload is encrypted, and this program runs with --plaintext")
	case c.ring == nil:
		return nil, refused("does the other side run another version?", "a payload has an unknown encoding")
	case encoding != encodingSealed:
		return nil, refused("start all programs with payload keys", "a payload is not encrypted")
	}
	key := c.ring.keys[name]
	if key == nil {
		return nil, refused("add the key to the keyring of this program", "a payload is encrypted with %s, which is not in the keyring", shown(name))
	}
	if !c.accepts(name) {
		return nil, refused("the keyring of a worker has the key of its site only", "a payload is encrypted with %s, which is not the key of where it is from", shown(name))
	}
	data, err := key.Open(nil, nil, p.GetData(), bound(name+c.from))
	if err != nil {
		return nil, refused("the keyrings may have different keys of this name", "a payload was not encrypted with the key %s of the keyring, or has changed", name)
	}
	return data, nil
}

// bound is the additional data of a sealed text: what stands beside it in the clear.
func bound(name string) []byte { return []byte(encodingSealed + "\x00" + name) }

// shown returns the name of a key that another program has sent.
func shown(name string) string {
	if keyName.MatchString(name) {
		return "the key " + name
	}
	return "a key without a valid name"
}

func refused(hint, format string, args ...any) error {
	return problem.New(problem.Unexpected, hint, format, args...)
}

// writers keeps the buffers of zlib, about 800 KB each.
var writers = sync.Pool{New: func() any { return zlib.NewWriter(io.Discard) }}

func deflate(plain []byte) []byte {
	var out bytes.Buffer
	w := writers.Get().(*zlib.Writer)
	defer writers.Put(w)
	w.Reset(&out)
	_, _ = w.Write(plain) // a bytes.Buffer has no errors
	_ = w.Close()
	return out.Bytes()
}

// inflate unpacks at most maxPlain bytes, and refuses more.
func inflate(data []byte) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxPlain+1))
	if err == nil && len(plain) > maxPlain {
		err = fmt.Errorf("more than %d bytes", maxPlain)
	}
	return plain, err
}
