package inventory

import (
	"encoding/base64"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/secretsource"
)

const secretForms = "must be ask, {file: PATH}, {env: NAME} or {command: \"…\"}"

// secret reads the source of a secret. Its errors do not quote the value, because users
// write the password itself there.
func (v value) secret(to *secretsource.Source) {
	if v.describes(secretShape()) {
		return
	}
	switch {
	case refused(v.node):
	case isText("ask")(v.node):
		*to = secretsource.Source{Ask: true}
	case v.node.Kind != yaml.MappingNode:
		v.fail("the inventory must not contain the secret itself", "%s %s", v.key, secretForms)
	case len(v.node.Content) != 2:
		v.fail("", "%s %s: exactly one of them", v.key, secretForms)
	default:
		var read secretsource.Source
		walk(v.r, sourceKeys, 0, v.key, v.key+".", v.node, &read)
		if read != (secretsource.Source{}) {
			*to = read
		}
	}
}

var sourceKeys = []key[secretsource.Source]{
	{name: "file", read: func(v value, s *secretsource.Source) { v.localPath(&s.File) }},
	{name: "env", read: func(v value, s *secretsource.Source) { v.variable(&s.Env) }},
	{name: "command", read: func(v value, s *secretsource.Source) { v.line(&s.Command) }},
}

func secretShape() shape { return anyOf(among("ask"), sourceShape()) }

func sourceShape() shape { return keysOf(sourceKeys, shape{"minProperties": 1, "maxProperties": 1}) }

// unasked reads the source of a secret for which no run waits.
func (v value) unasked(to *secretsource.Source) {
	if v.describes(anyOf(sourceShape())) {
		return
	}
	if isText("ask")(v.node) {
		v.fail("", "%s must be {file: PATH}, {env: NAME} or {command: \"…\"}: a run does not ask for it", v.key)
		return
	}
	v.secret(to)
}

// secretOrNone is secret; none removes the source of an outer level.
func (v value) secretOrNone(to *secretsource.Source) {
	if v.describes(anyOf(among(none), secretShape())) {
		return
	}
	if isText(none)(v.node) {
		*to = secretsource.Source{}
		return
	}
	v.secret(to)
}

// variableName follows POSIX.1-2017, 8.1.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variable reads the name of an environment variable.
func (v value) variable(to *string) {
	if v.describes(textShape(matching(variableName.String()))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	if !variableName.MatchString(s) {
		v.fail("write the variable's name, without $", "%s is not the name of an environment variable", v.key)
		return
	}
	*to = s
}

var sudoKeys = []key[secretsource.Source]{{name: "password_from", read: value.secret}}

// sudo reads how the login user becomes root: none, passwordless, or the source of sudo's
// password.
func (v value) sudo(to *Sudo, password *secretsource.Source) {
	if v.describes(anyOf(among("passwordless", none), keysOf(sudoKeys, shape{"required": []string{"password_from"}}))) {
		return
	}
	switch {
	case isText(none)(v.node):
		*to, *password = SudoNone, secretsource.Source{}
	case isText("passwordless")(v.node):
		*to, *password = SudoPasswordless, secretsource.Source{}
	case v.node.Kind == yaml.MappingNode:
		var read secretsource.Source
		walk(v.r, sudoKeys, 0, v.key, v.key+".", v.node, &read)
		if len(v.node.Content) == 0 {
			v.fail("", "%s has no password_from", v.key)
		}
		if read != (secretsource.Source{}) {
			*to, *password = SudoPassword, read
		}
	default:
		v.fail("", "%s must be none, passwordless or {password_from: …}", v.key)
	}
}

// strict reads whether a host with an unknown key is refused.
func (v value) strict(acceptNew *bool) {
	if v.describes(among("yes", "accept-new", true)) {
		return
	}
	switch {
	case isText("yes")(v.node), v.node.Tag == "!!bool" && strings.EqualFold(v.node.Value, "true"):
		*acceptNew = false
	case isText("accept-new")(v.node):
		*acceptNew = true
	default:
		v.fail("an unknown host key is never accepted blindly", "%s must be yes or accept-new", v.key)
	}
}

// fingerprints reads one fingerprint of a host key or a list of them. none is an empty
// list.
func (v value) fingerprints(to *[]string) {
	if v.describes(oneOrMore(shape{"type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{43}$"}, maxList)) {
		return
	}
	items, ok := v.oneOrMore("a fingerprint", "write none to use known_hosts")
	var list []string
	for _, item := range items {
		if s, ok := item.text(); ok && item.isFingerprint(s) {
			list = append(list, s)
		}
	}
	if ok && len(list) == len(items) {
		*to = list
	}
}

// isFingerprint returns true for a fingerprint as ssh-keygen -l prints it: "SHA256:" and
// the digest in base64 without padding. Anything else is reported as an error.
func (v value) isFingerprint(s string) bool {
	encoded, ok := strings.CutPrefix(s, "SHA256:")
	digest, err := base64.RawStdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(digest) != 32 || strings.ContainsAny(s, "\r\n") {
		v.fail("ssh-keygen -lf KEY.pub prints it: SHA256: and 43 characters", "%s is not the SHA-256 fingerprint of a key", v.key)
		return false
	}
	return true
}
