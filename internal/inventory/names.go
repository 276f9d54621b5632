package inventory

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/jump"
)

// maxName bounds host, group and label names and addresses, in bytes, as DNS
// does (RFC 1035 section 2.3.4).
const maxName = 253

// maxLabels bounds the labels of a host, which has a copy of those of outer levels.
const maxLabels = 64

// nameProblem returns what is wrong with the name of a host or group, "" if it is valid.
// Names are used in selectors, in local file names ({name}) and on the terminal, so they
// consist of letters, digits, ".", "_" and "-" only.
func nameProblem(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > maxName:
		return "is longer than 253 bytes"
	case s == "all":
		return "is reserved: as a selector it means every host"
	case s == "." || s == "..":
		return "can't be part of a file name"
	case s[0] == '-':
		return `starts with "-"`
	case strings.ContainsFunc(s, func(c rune) bool { return !nameRune(c) }):
		return `has a character other than letters, digits, ".", "_" and "-"`
	}
	return ""
}

func nameRune(c rune) bool {
	return standsFor(c) == "" && (c == '.' || c == '_' || c == '-' || unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c))
}

var addressText = regexp.MustCompile(`^[A-Za-z0-9._:%-]+$`)

// addressProblem returns what is wrong with an address and a hint, "" if it is valid.
func addressProblem(s string) (problem, hint string) {
	host, port, one := strings.Cut(s, ":")
	switch {
	case s == "":
		return "is empty", ""
	case len(s) > maxName:
		return "is longer than 253 bytes", ""
	case s[0] == '-':
		return `starts with "-"`, ""
	case strings.Contains(s, "://"):
		return "is a URI", `write the host alone; set "user" and "port" with their keys`
	case strings.Contains(s, "@"):
		return "contains a user", `set the user with the key "user"`
	case !addressText.MatchString(s):
		return "is not a host name or IP address", ""
	case one && !strings.Contains(port, ":") && host != "":
		return "contains a port", `set the port with the key "port"`
	case strings.ContainsAny(s, ":%") || strings.Trim(s, "0123456789.") == "":
		if _, err := netip.ParseAddr(s); err != nil {
			return "is not a host name or IP address", ""
		}
	}
	return "", ""
}

// address reads an address and splits it at its ranges. The addresses are validated when
// the host's name is known.
func (v value) address(to *endpoint) {
	if v.describes(textShape(matching(`^([A-Za-z0-9._%[][A-Za-z0-9._%[\]-]*|([A-Za-z0-9._%][A-Za-z0-9._%[\]-]*)?(:[A-Za-z0-9._%[\]-]*){2,})$`))) {
		return
	}
	to.node, to.template = v.node, template{}
	s, ok := v.text()
	if !ok {
		return
	}
	if strings.HasPrefix(s, "[") && strings.Contains(s, ":") {
		v.fail(`write an IPv6 address without brackets; set the port with the key "port"`, "address %s has brackets that are not a range", quote(s))
		return
	}
	t, err := parseTemplate(s)
	if err != nil {
		v.fail("", "address %s: %s", quote(s), err)
		return
	}
	to.template = t
}

// CheckUser is jump.CheckUser, for a login name that is not from the inventory.
func CheckUser(user string) error { return jump.CheckUser(user) }

// user reads a login name. It must not look like an option or contain a newline; the host
// decides what else is valid.
func (v value) user(to *string) {
	if v.describes(textShape(matching(`^([^-\s:@][^\s:@]*)?(@\S*)?$`))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	switch err := jump.CheckUser(s); {
	case err != nil && strings.Contains(s, ":"): // as the gateway Warpgate has it, user:target
		v.fail("if the colon is part of the login name, set it as User in ssh_config", "%s %v", v.key, err)
	case err != nil:
		v.fail("", "%s %v", v.key, err)
	case len(s) > maxName:
		v.fail("", "%s is longer than 253 bytes", v.key)
	default:
		*to = s
	}
}

// unitName follows systemd.unit(5), "unit name prefix": these characters, at
// most 255 in all. A leading "-" would be an option to systemctl.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,246}\.service$`)

// unit reads the name of a systemd service.
func (v value) unit(to *string) {
	if v.describes(textShape(matching(unitName.String()), unlike(`@\.service$`))) {
		return
	}
	s, ok := v.text()
	switch {
	case !ok:
	case !strings.HasSuffix(s, ".service"):
		v.fail("the agent's is az-aoi-ingestion.service", `%s must end in ".service"`, v.key)
	case !unitName.MatchString(s) || strings.HasSuffix(s, "@.service"):
		v.fail("", "%s is not the name of a systemd service", v.key)
	default:
		*to = s
	}
}

// remotePath reads the path of a file on the host.
func (v value) remotePath(to *string) {
	if v.describes(textShape(matching(`^/([^\t]*[^/\t])?$`), unlike(`/\.\.(/|$)`))) {
		return
	}
	s, ok := v.text()
	switch {
	case !ok:
	case s[0] != '/':
		v.fail("", "%s must be an absolute path on the host", v.key)
	case strings.HasSuffix(s, "/"):
		v.fail("", "%s must name a file, not a folder", v.key)
	case strings.Contains(s, "\t"):
		v.fail("", "%s must be one line without control characters", v.key)
	case strings.Contains(s+"/", "/../"):
		v.fail("", `%s must not contain ".."`, v.key)
	default:
		*to = s
	}
}

// localPath reads the path of a file on the workstation, and makes it
// absolute.
func (v value) localPath(to *string) {
	if v.describes(pathShape()) {
		return
	}
	if s, ok := v.workstationPath(); ok {
		*to = v.r.absolute(s)
	}
}

// pathOrNone reads a local path, or stores none as it is.
func (v value) pathOrNone(to *string) {
	if v.describes(anyOf(among(none), pathShape())) {
		return
	}
	if isText(none)(v.node) {
		*to = none
		return
	}
	v.localPath(to)
}

// workstationPath returns a local path without making it absolute. Its errors do not
// quote it, because users paste the key itself.
func (v value) workstationPath() (string, bool) {
	s, ok := v.text()
	switch {
	case !ok:
		return "", false
	case strings.Contains(s, "://"):
		v.fail("", "%s must be a file path", v.key)
	case strings.HasPrefix(s, "~") && !homeRelative(s):
		v.fail("", "%s: ~ means your own home directory only, as in ~/file", v.key)
	case filepath.VolumeName(s) != "" && !filepath.IsAbs(s): // C:file on Windows
		v.fail("write the whole path, as in C:/folder/file", "%s depends on the current folder of a drive", v.key)
	case homeRelative(s) && v.r.env.Home == "":
		v.fail("write the whole path", "%s: can't expand ~: the home directory is unknown", v.key)
	default:
		return s, true
	}
	return "", false
}

// homeRelative reports whether a path begins with ~/, or on Windows also with ~\.
func homeRelative(s string) bool { return len(s) > 1 && s[0] == '~' && os.IsPathSeparator(s[1]) }

// absolute returns a local path as an absolute one: "~" is the home directory, and a
// relative path is relative to the inventory's folder.
func (r *reader) absolute(path string) string {
	switch {
	case homeRelative(path):
		return filepath.Join(r.env.Home, path[2:])
	case filepath.IsAbs(path):
		return filepath.Clean(path)
	case path != "" && os.IsPathSeparator(path[0]): // on Windows: on the drive of the inventory
		return filepath.Join(filepath.VolumeName(r.folder)+"/", path)
	}
	return filepath.Join(r.folder, path)
}

// localPaths reads one path or a list of them. none is an empty list.
func (v value) localPaths(to *[]string) {
	if v.describes(oneOrMore(pathShape(), maxList)) {
		return
	}
	items, ok := v.oneOrMore("a file path", "write none for ssh-agent")
	var paths []string
	for _, item := range items {
		path := ""
		if item.localPath(&path); path != "" {
			paths = append(paths, path)
		}
	}
	if ok && len(paths) == len(items) {
		*to = paths
	}
}

// vaultForm matches a certificate in a Key Vault. Package azure validates the names.
var vaultForm = regexp.MustCompile(`^[kK][eE][yY][vV][aA][uU][lL][tT]://[^/\s]+/[^/\s]+(/[^/\s]+)?$`)

// certificate reads the path of a P12, its place in a Key Vault or the command that prints it,
// and stores it unchanged with {name}: a path becomes absolute when it is copied to a host.
func (v value) certificate(to, command *string) {
	if v.describes(certificateShape()) {
		return
	}
	if isText(none)(v.node) {
		*to, *command = "", ""
		return
	}
	if v.node.Kind == yaml.MappingNode {
		if line := v.certificateCommand(); line != "" {
			*to, *command = "", line
		}
		return
	}
	var s string
	var ok bool
	if azurecloud.InVault(v.node.Value) {
		if s, ok = v.text(); ok && !vaultForm.MatchString(s) {
			v.fail("write it as keyvault://VAULT/NAME or keyvault://VAULT/NAME/VERSION", "%s does not name a vault and a certificate", v.key)
			ok = false
		}
	} else {
		s, ok = v.workstationPath()
	}
	if ok && v.named(s) {
		*to, *command = s, ""
	}
}

// named reports whether a text is one in which {name} stands for the host's name, and reports
// what is wrong.
func (v value) named(s string) bool {
	switch {
	case strings.Count(s, "{name}") > 4: // each host has a copy
		v.fail("", "%s has {name} more than 4 times", v.key)
	case strings.ContainsAny(strings.ReplaceAll(s, "{name}", ""), "{}"):
		v.fail("{name} stands for the host's name", "%s: only {name} is replaced in it", v.key)
	default:
		return true
	}
	return false
}

// withName is the pattern of a text in which only {name} is replaced.
const withName = `^([^{}]|\{name\})*$`

// namedPath reads a local path with {name}, and stores it unchanged: it becomes absolute when it
// is copied to a host.
func (v value) namedPath(to *string) {
	if v.describes(textShape(matching(withName), unlike(`://|^~([^/]|$)`))) {
		return
	}
	if s, ok := v.workstationPath(); ok && v.named(s) {
		*to = s
	}
}

var commandKeys = []key[string]{{name: "command", read: value.line}}

func certificateShape() shape {
	file := textShape(matching(withName))
	file["anyOf"] = []shape{matching(vaultForm.String()), unlike(`://|^~([^/]|$)`)}
	return anyOf(file, keysOf(commandKeys, shape{"required": []string{"command"}}))
}

// certificateCommand reads {command: "…"}, "" after an error. {name} needs no quotes in it: a
// host's name has no character that means something to a shell.
func (v value) certificateCommand() (line string) {
	walk(v.r, commandKeys, 0, v.key, v.key+".", v.node, &line)
	switch {
	case len(v.node.Content) == 0:
		v.fail("", "%s has no command", v.key)
	case strings.Contains(line, "${name}"):
		v.fail("{name} stands for the host's name: give the shell's variable another", "%s.command has ${name}", v.key)
		return ""
	}
	return line
}

func labelsShape() shape {
	s := mapping(plainName, "")
	s["additionalProperties"] = shape{"type": []string{"string", "number", "boolean"}, "minLength": 1, "maxLength": maxName, "pattern": `^[^\x00-\x1f\x7f-\x9f]*$`}
	return s
}

// labels merges labels into those of the outer levels. It copies the map, because other
// hosts share it.
func (v value) labels(to *map[string]string) {
	if v.describes(labelsShape()) {
		return
	}
	merged := map[string]string{}
	maps.Copy(merged, *to)
	seen := map[string]bool{}
	for k, n := range v.r.pairs(v.node, v.key) {
		switch problem := nameProblem(k.Value); {
		case seen[k.Value]:
			v.r.fail(k, "", "label %s is given twice", quote(k.Value))
		case problem != "":
			v.r.fail(k, "", "label %s %s", quote(k.Value), problem)
		default:
			item := value{r: v.r, key: "label " + k.Value, name: k, node: n}
			item.labelValue(merged)
		}
		seen[k.Value] = true
	}
	if len(merged) > maxLabels {
		v.fail("", "%s has more than %d labels", v.key, maxLabels)
		return
	}
	*to = merged
}

// labelValue accepts any scalar as it is written: a number or a boolean is a valid label
// too.
func (v value) labelValue(labels map[string]string) {
	n := v.node
	switch {
	case refused(n):
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "":
		v.fail("", "%s must have a single value", v.key)
	case len(n.Value) > maxName:
		v.fail("", "%s is longer than 253 bytes", v.key)
	case strings.ContainsFunc(n.Value, func(c rune) bool { return !unicode.IsPrint(c) }):
		v.fail("", "%s has an unprintable character", v.key)
	default:
		labels[v.name.Value] = n.Value
	}
}

// NameProblem returns what is wrong with a name of a host, a group or a label, as in "is empty"; ""
// if it is valid.
func NameProblem(s string) string { return nameProblem(s) }
