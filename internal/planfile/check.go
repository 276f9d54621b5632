package planfile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/aoifleet/aoifleet/internal/display"
)

// Limits of a plan: the inventory's limit on hosts, and more than the longest text
// that a host is asked for.
const (
	maxHosts = 100_000
	maxText  = 8 << 10 // bytes
	maxDepth = 10_000  // levels, as in encoding/json
)

var (
	digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

	actions  = []string{"rotate", "change", "upgrade", "restart", "none"}
	outcomes = []string{"", "current", "not_applicable", "refused", "unreachable"}
)

// check reports the first defect of a plan. A plan without one is safe to print and
// complete enough to carry out.
func (p *Plan) check() error {
	if err := plainText(reflect.ValueOf(p)); err != nil {
		return err
	}
	switch {
	case !digest.MatchString(p.Inventory.SHA256):
		return errors.New("it has no digest of the inventory")
	case p.PlanID == "", p.CreatedAt.IsZero():
		return errors.New("it has no id or no creation time")
	case p.Policy.Parallel < 1, p.Policy.MaxFailures == "":
		return errors.New("it has no policy")
	case len(p.Hosts) == 0, len(p.Hosts) > maxHosts:
		return fmt.Errorf("it has %d hosts", len(p.Hosts))
	case p.Command != "" && p.Command != "configure" && p.Command != "upgrade", (p.Command == "upgrade") != (p.To != ""):
		return errors.New("it is of a command that this version does not know")
	}
	names := make(map[string]bool, len(p.Hosts))
	for i := range p.Hosts {
		h := &p.Hosts[i]
		if h.Name == "" || names[h.Name] {
			return fmt.Errorf("host %d has no unique name", i+1)
		}
		names[h.Name] = true
		if what := h.missing(len(p.Diffs), p.Command); what != "" {
			return fmt.Errorf("host %s has no %s", h.Name, what)
		}
	}
	return nil
}

// missing returns what the host needs in order to be carried out, "" if it is complete.
func (h *Host) missing(diffs int, command string) string {
	for _, f := range h.Files {
		if f.What == "" || f.Path == "" || f.SHA256 == "" || !digest.MatchString(f.New) || f.Diff != nil && (*f.Diff < 0 || *f.Diff >= diffs) {
			return "complete file"
		}
	}
	switch {
	case !slices.Contains(actions, h.Action):
		return "known action"
	case !slices.Contains(outcomes, h.Outcome):
		return "known outcome"
	case (h.Outcome == "") == (h.Action == "none"):
		return "action that matches its outcome"
	case h.New != nil && (!digest.MatchString(h.New.FileSHA256) || h.New.Thumbprint == ""):
		return "new certificate"
	case h.Outcome != "":
		return ""
	case h.New == nil && (command == "" || len(h.Files) == 0):
		return "new certificate"
	case h.Package != nil && (h.Package.Name == "" || h.Package.Manager == "" || h.Package.Old == "" || h.Package.New == ""), (command == "upgrade") != (h.Package != nil):
		return "complete package"
	case h.Seen == nil || h.Seen.HostKey == "" || h.Seen.File.SHA256 == "" && command == "":
		return "record of its observed state"
	}
	return ""
}

// plainText returns an error if any text in v, at any depth, is too long or has an
// unprintable character.
func plainText(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return plainText(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := plainText(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue // time.Time
			}
			if err := plainText(v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.String:
		if len(v.String()) > maxText || strings.ContainsFunc(v.String(), func(c rune) bool { return !unicode.IsPrint(c) }) {
			return errors.New("a text in it is too long or has a control character")
		}
	}
	return nil
}

// crowded reports whether a list or an object of a JSON text has more than maxHosts
// entries. Decoding takes hundreds of bytes for an entry of two.
func crowded(data []byte) bool {
	var commas []int // in each open list and object
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if len(commas) == maxDepth {
				return false // the decoder refuses it
			}
			commas = append(commas, 0)
		case ']', '}':
			commas = commas[:max(len(commas)-1, 0)]
		case ',':
			if last := len(commas) - 1; last >= 0 {
				if commas[last]++; commas[last] >= maxHosts {
					return true
				}
			}
		}
	}
	return false
}

// jsonProblem returns what is wrong with a JSON text, without its values.
func jsonProblem(data []byte, err error) string {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("it is not JSON from byte %d on", syntax.Offset)
	case errors.As(err, &wrong):
		found, _, _ := strings.Cut(wrong.Value, " ") // a number is quoted
		line := bytes.Count(data[:min(int(wrong.Offset), len(data))], []byte("\n")) + 1
		return fmt.Sprintf("line %d: %s must be %s, not %s", line, fromFile(wrong.Field), wanted(wrong.Type.Kind()), cmp.Or(jsonTypes[found], found))
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		return "it has a key that this version does not know: " + fromFile(strings.TrimPrefix(err.Error(), "json: unknown field "))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return "a time in it is not in the form of RFC 3339"
}

// jsonTypes has the names of JSON's types in messages, by those of encoding/json.
var jsonTypes = map[string]string{"array": "a list", "object": "an object", "string": "a string", "number": "another number", "bool": "true or false"}

// wanted returns the JSON type of a Go type.
func wanted(kind reflect.Kind) string {
	switch kind {
	case reflect.Slice:
		return jsonTypes["array"]
	case reflect.Struct, reflect.Pointer:
		return jsonTypes["object"]
	case reflect.Bool:
		return jsonTypes["bool"]
	case reflect.String:
		return jsonTypes["string"]
	}
	return "a whole number"
}

// fromFile returns a text from the file in printable form.
func fromFile(s string) string { return display.Mask(s[:min(len(s), 100)]) }
