package display

import (
	"runtime"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// Arg returns an argument of a command for the operator's shell: sh, or on Windows
// PowerShell.
func Arg(s string) string { return ArgOn(runtime.GOOS, s) }

// Command returns a command line for the operator's shell.
func Command(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = Arg(arg)
	}
	return strings.Join(quoted, " ")
}

// ForShell returns the command for the operator's shell, where sh and PowerShell need two.
func ForShell(posix, powerShell string) string {
	if runtime.GOOS == "windows" {
		return powerShell
	}
	return posix
}

// ArgOn is Arg for an operating system of package runtime.
func ArgOn(goos, s string) string {
	if goos != "windows" {
		return shellescape.Quote(s)
	}
	return powerShell(s)
}

// powerShell quotes as about_Quoting_Rules says: between single quotes only a single quote is
// special, and doubled; the typographic ones count as it (about_Special_Characters). Without
// quotes, "-a.b" is split at the dot and "a,b" is an array (about_Parsing).
func powerShell(s string) string {
	if s != "" && strings.Trim(s, `ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./\:=+-`) == "" &&
		!(s[0] == '-' && strings.ContainsAny(s, ".:")) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if strings.ContainsRune("'‘’‚‛", c) {
			b.WriteRune(c)
		}
		b.WriteRune(c)
	}
	return "'" + b.String() + "'"
}
