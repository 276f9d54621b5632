package inventory

import (
	"cmp"
	"fmt"
	"iter"
	"path/filepath"
	"slices"

	"gopkg.in/yaml.v3"
)

// none is the value that unsets an optional key, also that of an outer level.
const none = "none"

// reader reads one inventory and collects its errors.
type reader struct {
	path   string // of the file, for errors
	folder string // absolute; relative paths are relative to it
	env    Env
	errs   Errors

	fileKeys []key[file]
	hostKeys []key[draft]

	names   map[string]*yaml.Node // of the hosts so far, with their nodes
	groups  map[string]*yaml.Node
	routes  map[route]taken // of the hosts so far
	anyHost bool            // also one with errors
	full    bool            // maxHosts is exceeded and reported
}

func newReader(path string, env Env) (*reader, error) {
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return &reader{
		path: path, folder: folder, env: env,
		fileKeys: fileKeys(), hostKeys: hostKeys(),
		names: map[string]*yaml.Node{}, groups: map[string]*yaml.Node{}, routes: map[route]taken{},
	}, nil
}

// fail records an error at a node, up to maxErrors of them. Without a hint it names a
// character that only looks right.
func (r *reader) fail(at *yaml.Node, hint, format string, args ...any) {
	if len(r.errs) >= maxErrors {
		return
	}
	hint = cmp.Or(hint, lookalikeHint(at.Value))
	r.errs = append(r.errs, Error{
		File: r.path, Line: at.Line, Column: at.Column,
		Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// sorted returns the errors in the order of the file.
func (r *reader) sorted() Errors {
	r.errs.sort()
	return r.errs
}

// at returns "file:line:column" of a node, for reference in another error.
func (r *reader) at(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", r.path, n.Line, n.Column)
}

// pairs returns the keys and values of a mapping, including duplicate keys. It reports a
// node that is not a mapping and a key that is not a string. A null is an empty mapping.
func (r *reader) pairs(n *yaml.Node, what string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(k, v *yaml.Node) bool) {
		if n == nil || refused(n) || n.Tag == "!!null" {
			return
		}
		if n.Kind != yaml.MappingNode {
			r.fail(n, "", "%s must be a mapping (lines of key: value)", what)
			return
		}
		for pair := range slices.Chunk(n.Content, 2) {
			k, v := pair[0], pair[1]
			if refused(k) {
				continue
			}
			if k.Kind != yaml.ScalarNode {
				r.fail(k, `quote text that starts with "[" or "{"`, "a key of %s must be a string", what)
				continue
			}
			if !yield(k, v) {
				return
			}
		}
	}
}

// walk reads a mapping by its schema.
func walk[T any](r *reader, keys []key[T], at place, what, prefix string, n *yaml.Node, to *T) {
	seen := map[string]*yaml.Node{}
	for name, node := range r.pairs(n, what) {
		if first := seen[name.Value]; first != nil {
			r.fail(name, "", "%s is given twice; first at %s", quote(name.Value), r.at(first))
			continue
		}
		seen[name.Value] = name
		i := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == name.Value && k.allowedIn(at) })
		if i < 0 {
			r.unknownKey(name, what, names(keys, at))
			continue
		}
		k := &keys[i]
		v := value{r: r, key: prefix + k.name, name: name, node: node}
		switch {
		case refused(node):
		case k.keys != nil:
			walk(r, k.keys, at, v.key, v.key+".", node, to)
		default:
			k.read(v, to)
		}
	}
}

func (k *key[T]) allowedIn(at place) bool { return k.in == 0 || k.in&at != 0 }

func names[T any](keys []key[T], at place) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, k := range keys {
			if k.allowedIn(at) && !yield(k.name) {
				return
			}
		}
	}
}

func (r *reader) unknownKey(name *yaml.Node, what string, known iter.Seq[string]) {
	hint := cmp.Or(lookalikeHint(name.Value), DidYouMean(name.Value, known))
	if hint == "" {
		hint = r.whereItBelongs(name.Value)
	}
	r.fail(name, hint, "unknown key %s in %s", quote(name.Value), what)
}

// whereItBelongs returns the hint for a key that is allowed elsewhere, or that has another
// name in Ansible's inventories.
func (r *reader) whereItBelongs(name string) string {
	for _, k := range r.fileKeys {
		if k.name == name {
			return fmt.Sprintf("%q belongs at the top level", name)
		}
	}
	for _, k := range r.hostKeys {
		switch {
		case k.name == name && k.in == inHost:
			return fmt.Sprintf("%q belongs in a host", name)
		case k.name == name:
			return fmt.Sprintf("%q belongs under defaults, a group or a host", name)
		}
	}
	if in := cmp.Or(sectionOf(r.fileKeys, name), sectionOf(r.hostKeys, name)); in != "" {
		return fmt.Sprintf("%q belongs under %s", name, in)
	}
	switch name {
	case "ansible_host":
		return `the address is called "address" here`
	case "ansible_user", "ansible_port":
		return fmt.Sprintf("it is called %q here", name[len("ansible_"):])
	case "ansible_ssh_private_key_file":
		return `it is called "identity_file" here`
	case "children":
		return "a group contains hosts only; use labels for a second grouping"
	case "vars":
		return "write settings in the group itself"
	}
	return ""
}

// sectionOf returns the section that has a key of that name, "" if there is none.
func sectionOf[T any](keys []key[T], name string) string {
	for _, section := range keys {
		for _, k := range section.keys {
			if k.name == name {
				return section.name
			}
		}
	}
	return ""
}
