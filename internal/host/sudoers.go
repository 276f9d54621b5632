package host

import (
	"strings"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// HelperPath is where host.sh is installed on a host, for accounts that may run nothing
// else as root.
const HelperPath = "/usr/local/libexec/aoifleet-host"

// Sudoers returns the rule of sudoers(5) that allows user to run the helper and nothing
// else as root: the "" allows no argument. The rule has NOPASSWD unless password is set. A
// name that sudoers does not read as one user is an error.
func Sudoers(user string, password bool) (string, error) {
	if user == "" || user == "ALL" || strings.ContainsRune("%+#!", rune(user[0])) {
		return "", &problem.Error{Class: problem.Configuration,
			Message: "sudoers can't name a single user as " + clean(user),
			Hint:    "log in as another user"}
	}
	return helperRule(user, password), nil
}

func helperRule(user string, password bool) string { return rule(user, password, HelperPath+` ""`) }

func rule(user string, password bool, command string) string {
	tag := "NOPASSWD: "
	if password {
		tag = ""
	}
	return sudoersName(user) + " ALL=(root) " + tag + command
}

// sudoersLine returns the rule that the host's settings need.
func (v *VM) sudoersLine() string {
	password := v.password != nil
	switch {
	case v.helper():
		return helperRule(v.host.User, password)
	case password:
		return rule(v.host.User, true, "/bin/sh")
	}
	return rule(v.host.User, false, "/bin/sh -s")
}

// sudoersName returns a user's name as sudoers(5) reads it. A name with special
// characters, as in a directory, or that could be an alias, is put in double quotes, in
// which only double quotes are escaped.
func sudoersName(user string) string {
	const lower = "abcdefghijklmnopqrstuvwxyz_"
	first := strings.ContainsRune(lower, []rune(user + " ")[0])
	if first && strings.Trim(user, lower+"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == "" {
		return user
	}
	return `"` + strings.ReplaceAll(user, `"`, `\"`) + `"`
}

// helper reports whether root runs the installed helper.
func (v *VM) helper() bool { return v.host.Helper != "" && v.host.Sudo != inventory.SudoNone }
