package inventory

import "time"

// Schema returns the JSON schema of an inventory file, for editors. It is made from the tables of
// keys that the reader uses, and refuses what a schema can express. about returns the description
// of a key such as "health.window", "" for none.
func Schema(about func(key string) string) map[string]any {
	d := describer{about: about, shared: shape{}}
	top := object(&d, fileKeys(), 0, "")
	level := func(at place) shape { return object(&d, hostKeys(), at, "") }
	d.shared["defaults"], d.shared["group"], d.shared["host"] = level(inDefaults), level(inGroup), level(inHost)
	top["$schema"] = "http://json-schema.org/draft-07/schema#" // the newest that every editor reads
	top["title"] = "Inventory of aoifleet"
	top["type"] = "object"
	top["required"] = []string{"version"}
	top["anyOf"] = []shape{{"required": []string{"hosts"}}, {"required": []string{"groups"}}}
	top["definitions"] = d.shared
	return top
}

// shape is a part of a JSON schema.
type shape map[string]any

// describes reports whether v is to describe the values of its key instead of reading one. If so,
// it stores the description. Each method of value that reads begins with it, or calls one that does.
func (v value) describes(s shape) bool {
	if v.shape != nil {
		*v.shape = s
	}
	return v.shape != nil
}

// describer makes a schema from tables of keys.
type describer struct {
	about  func(key string) string
	shared shape // the parts that several places have, by name
}

// object describes a mapping. What is a mapping may be empty.
func object[T any](d *describer, keys []key[T], at place, prefix string) shape {
	properties := shape{}
	for _, k := range keys {
		if k.allowedIn(at) {
			properties[k.name] = described(d, k, at, prefix)
		}
	}
	return shape{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
}

// described describes the values of a key. The settings of hosts are in three places, and
// described once.
func described[T any](d *describer, k key[T], at place, prefix string) shape {
	name, ref := prefix+k.name, shape{"$ref": "#/definitions/" + k.name}
	once := at != 0 && prefix == ""
	if once && d.shared[k.name] != nil {
		return ref
	}
	s := shape{}
	switch structure := map[string]shape{"defaults": {"$ref": "#/definitions/defaults"}, "hosts": mapping(hostName, "host"), "groups": mapping(plainName, "group")}[name]; {
	case structure != nil:
		s = structure
	case k.keys != nil:
		s = object(d, k.keys, at, name+".")
	default:
		var to T
		k.read(value{key: name, shape: &s}, &to)
	}
	if text := d.about(name); text != "" && s["$ref"] == nil {
		s["description"] = text
	}
	if !once {
		return s
	}
	d.shared[k.name] = s
	return ref
}

// keysOf describes a mapping inside a value.
func keysOf[T any](keys []key[T], more shape) shape {
	s := object(&describer{about: func(string) string { return "" }}, keys, 0, "")
	s["type"] = "object"
	for k, v := range more {
		s[k] = v
	}
	return s
}

const (
	plainName = "^[^\\x00-,/:-@[-^`{-\\x7f-][^\\x00-,/:-@[-^`{-\\x7f]*$"     // as nameProblem, of ASCII
	hostName  = "^[^\\x00-,/:-@\\\\^`{-\\x7f-][^\\x00-,/:-@\\\\^`{-\\x7f]*$" // also with ranges
	oneLine   = `^[^\x00-\x08\x0a-\x1f\x7f-\x9f]*$`
)

// The descriptions that several kinds of values have. What a pattern can't say, such as the
// largest duration, only the reader refuses.

func matching(p string) shape     { return shape{"pattern": p} }
func unlike(p string) shape       { return shape{"not": matching(p)} }
func among(words ...any) shape    { return shape{"enum": words} }
func anyOf(shapes ...shape) shape { return shape{"anyOf": shapes} }

func textShape(more ...shape) shape {
	s := shape{"type": "string", "minLength": 1, "maxLength": maxText, "pattern": oneLine}
	if len(more) > 0 {
		s["allOf"] = more
	}
	return s
}

func pathShape() shape { return textShape(unlike(`://|^~([^/]|$)`)) }

func listShape(of shape, least, most int) shape {
	return shape{"type": "array", "items": of, "minItems": least, "maxItems": most}
}

// oneOrMore describes a value or a list of them.
func oneOrMore(of shape, most int) shape { return anyOf(among(none), of, listShape(of, 1, most)) }

// mapping describes a mapping whose keys are names.
func mapping(names, of string) shape {
	s := shape{"type": []string{"object", "null"}, "propertyNames": shape{"pattern": names, "not": among("all", ".", "..")}}
	if of != "" {
		s["additionalProperties"] = shape{"$ref": "#/definitions/" + of}
	}
	return s
}

func amountShape() shape {
	return anyOf(shape{"type": "integer", "minimum": 1, "maximum": maxHosts}, shape{"type": "string", "pattern": "^(100|[1-9][0-9]?)%$"})
}

// durationShape describes a duration; least is that of value.duration.
func durationShape(least time.Duration) shape {
	s := shape{"type": "string", "pattern": `^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d))+$`}
	if least > 0 {
		s["not"] = matching(`^[+.0a-zµμ]*$`)
		return s
	}
	return anyOf(among(0, "0"), s)
}
