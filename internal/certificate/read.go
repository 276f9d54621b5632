package certificate

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"time"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// ReadFile reads and checks the file at path as Parse does. Every error is a
// *problem.Error that names the file in its message and in its hint.
func ReadFile(path string, now time.Time) (*Certificate, error) {
	return fromFile(path, func(data []byte) (*Certificate, *flaw) { return valid(data, now, within(openLimit)) })
}

// InspectFile reads the file at path as Inspect does.
func InspectFile(path string) (*Certificate, error) { return fromFile(path, inspect) }

func fromFile(path string, parse func([]byte) (*Certificate, *flaw)) (*Certificate, error) {
	data, err := localfile.Read(path, MaxSize+1) // Parse refuses more
	if err != nil {
		return nil, flawed(hintReadable, "%s", reason(err)).at(path).problem()
	}
	c, p := parse(data)
	if p != nil {
		return nil, p.at(path).problem()
	}
	return c, nil
}

// reason returns err without the path, with which the message begins.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	}
	return "can't be read: " + localfile.Reason(err)
}

// Parse reads a P12 file without a passphrase: base64 in any usual shape, or
// raw DER. The certificate must be valid at now. data is at most MaxSize
// bytes. Every error is a *problem.Error. It returns within about ten seconds.
func Parse(data []byte, now time.Time) (*Certificate, error) {
	c, p := valid(data, now, within(openLimit))
	if p != nil {
		return nil, p.problem()
	}
	return c, nil
}

// Inspect is Parse for a certificate of any age: its dates are no error.
func Inspect(data []byte) (*Certificate, error) {
	c, p := inspect(data)
	if p != nil {
		return nil, p.problem()
	}
	return c, nil
}

func valid(data []byte, now time.Time, out spent) (*Certificate, *flaw) {
	c, raw, p := parse(data, out)
	if p == nil {
		p = checkDates(c.Leaf, now)
	}
	if p != nil {
		return nil, p.addressed(raw)
	}
	return c, nil
}

func inspect(data []byte) (*Certificate, *flaw) {
	c, raw, p := parse(data, within(openLimit))
	if p != nil {
		return nil, p.addressed(raw)
	}
	return c, nil
}

// parse reads a P12 until out; raw reports whether data was DER, for the hints.
func parse(data []byte, out spent) (c *Certificate, raw bool, p *flaw) {
	load, p := unwrap(data)
	if p != nil {
		return nil, false, p
	}
	der, notes, p := envelope(load.der)
	if p != nil {
		return nil, load.raw, p.sealedBy(load.der)
	}
	load.der, load.notes = der, append(load.notes, notes...)
	opened, l, p := open(der, out)
	if p != nil {
		return nil, load.raw, p.sealedBy(der)
	}
	found, p := match(opened)
	if p != nil {
		return nil, load.raw, p
	}
	c, p = normalise(data, load, l, found)
	return c, load.raw, p
}

// normalise builds the Certificate and its canonical form: the same DER where every
// agent loads it, else a new one.
func normalise(data []byte, load payload, l layout, found pair) (*Certificate, *flaw) {
	odd := append(l.oddities(), found.leftOut...)
	if !found.leafFirst {
		odd = append(odd, "had another certificate before its own (Key Vault's order); re-encoded with its own first")
	}
	der, chain := load.der, found.chain
	if len(odd) > 0 {
		var err error
		if der, err = encode(found); err != nil {
			return nil, flawed(hintReexport, "can't be re-encoded")
		}
		chain = inOrder(found.leaf, found.chain)
	}
	canonical := []byte(base64.StdEncoding.EncodeToString(der))
	asGiven := base64.StdEncoding.EncodeToString(load.der) == string(data)
	c := &Certificate{
		Leaf:       Describe(found.leaf),
		Encryption: l.String(),
		Notes:      append(load.notes, odd...),
		Normalised: string(canonical) != string(data),
		AgentLoads: asGiven && l.loads(),
	}
	for _, other := range chain {
		c.Chain = append(c.Chain, Describe(other))
	}
	c.seal(canonical)
	return c, nil
}
