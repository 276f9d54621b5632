package configuration

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const sftpPull = "pipelines[].source.sftp_pull"

// resolve returns the node that an alias stands for. load has refused endless ones.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// pairs returns the keys and values of a mapping; of anything else, none.
func pairs(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode {
			return
		}
		for pair := range slices.Chunk(n.Content, 2) {
			if !yield(resolve(pair[0]), resolve(pair[1])) {
				return
			}
		}
	}
}

// fieldsOf returns the keys and values of a mapping, for sftp_pull also those of its groups.
func fieldsOf(n *yaml.Node, path string) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		for key, value := range pairs(n) {
			if !yield(key, value) {
				return
			}
			if path != sftpPull || !slices.Contains(grouping, key.Value) {
				continue
			}
			for key, value := range pairs(value) {
				if !yield(key, value) {
					return
				}
			}
		}
	}
}

// empty stands for a value that is not there.
var empty = &yaml.Node{}

// child returns the value below keys, an empty node if there is none.
func child(n *yaml.Node, keys ...string) *yaml.Node {
	for _, name := range keys {
		next := empty
		for key, value := range pairs(n) {
			if key.Value == name && next == empty {
				next = value
			}
		}
		n = next
	}
	return n
}

// items returns the items of a list.
func items(n *yaml.Node) iter.Seq[*yaml.Node] {
	return func(yield func(*yaml.Node) bool) {
		if n.Kind != yaml.SequenceNode {
			return
		}
		for _, item := range n.Content {
			if !yield(resolve(item)) {
				return
			}
		}
	}
}

// providersOf returns the names of the secret providers; true: a file_system one.
func providersOf(root *yaml.Node) map[string]bool {
	providers := map[string]bool{}
	for provider := range items(child(root, "secret_providers")) {
		if name := child(provider, "name").Value; name != "" {
			providers[name] = child(provider, "file_system") != empty
		}
	}
	return providers
}

// source is the source of a pipeline, as far as two of them are compared.
type source struct {
	node     *yaml.Node // the pipeline
	id, kind string
	port     string            // of an MCC EDR listener
	sftp     map[string]string // the fields of an SFTP source
}

// sources returns the sources of the pipelines of known kinds.
func sources(root *yaml.Node) []source {
	var all []source
	for pipeline := range items(child(root, "pipelines")) {
		s := source{node: pipeline, id: child(pipeline, "id").Value}
		for key, value := range pairs(child(pipeline, "source")) {
			switch s.kind = key.Value; s.kind {
			case "mcc_edrs":
				s.port = cmp.Or(child(value, "listener", "port").Value, "36001")
			case "sftp_pull":
				s.sftp = map[string]string{}
				for key, value := range fieldsOf(value, sftpPull) {
					s.sftp[key.Value] = value.Value
				}
			}
		}
		all = append(all, s)
	}
	return all
}

// same tells whether two sources read the same.
func (s source) same(other source) bool {
	if s.kind != other.kind {
		return false
	}
	return s.kind != "sftp_pull" || s.onSameServer(other) && s.folder() == other.folder()
}

func (s source) onSameServer(other source) bool {
	return strings.EqualFold(s.sftp["host"], other.sftp["host"]) && s.sftp["user"] == other.sftp["user"] && cmp.Or(s.sftp["port"], "22") == cmp.Or(other.sftp["port"], "22")
}

// folder returns the base path between slashes, so that one that is a prefix of another is above it.
func (s source) folder() string {
	inner := strings.Trim(s.sftp["base_path"], "/")
	if inner == "" || inner == "." {
		return "/"
	}
	return "/" + inner + "/"
}
