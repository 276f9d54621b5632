package host

import (
	"strings"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// HelperPath is where host.sh may be installed on a host, for accounts that may
// run nothing else as root.
const HelperPath = "/usr/local/libexec/aoifleet-host"

// Sudoers is the rule of sudoers(5) that lets user run the helper and nothing
// else as root: the "" allows no argument. It is without a password unless
// password is set. A name that means more than one user there is an error.
func Sudoers(user string, password bool) (string, error) {
	if user == "" || user == "ALL" || strings.ContainsRune("%+#!", rune(user[0])) {
		return "", &problem.Error{Class: problem.Configuration,
			Message: "sudoers can't name the user " + clean(user) + " alone",
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

// sudoersLine is the rule that a host's settings call for.
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

// sudoersName is a user's name as sudoers(5) reads it. One that holds more than
// plain characters, as those of a directory do, or could be an alias, goes into
// double quotes, within which nothing but these is escaped.
func sudoersName(user string) string {
	const lower = "abcdefghijklmnopqrstuvwxyz_"
	first := strings.ContainsRune(lower, []rune(user + " ")[0])
	if first && strings.Trim(user, lower+"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == "" {
		return user
	}
	return `"` + strings.ReplaceAll(user, `"`, `\"`) + `"`
}

// helper tells whether root runs what is installed on the host.
func (v *VM) helper() bool { return v.host.Helper != "" && v.host.Sudo != inventory.SudoNone }
