package certificate

import (
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
)

// inPowerShell has the parts of hints that only sh has, and what does the same on Windows.
// certutil and New-Item replace no file.
var inPowerShell = strings.NewReplacer(
	hintDecode, "certutil -decode FILE new.p12.b64",
	hintJSON, "New-Item new.p12.b64 -Value ((Get-Content -Raw FILE | ConvertFrom-Json).value)",
	hintURL, "New-Item new.p12.b64 -Value ((Get-Content -Raw FILE).Replace('_', '/').Replace('-', '+'))",
	hintUnquote, `New-Item new.p12.b64 -Value ((Get-Content -Raw FILE) -replace '["'']')`,
	hintOpenSSH, "Copy-Item KEY copy.tmp; ssh-keygen -p -m PEM -f copy.tmp; "+pack+"CERTIFICATE --key copy.tmp"+packAs+"; Remove-Item copy.tmp",
)

// hintOn returns a hint for the operator's shell, with its words, each followed by its path,
// replaced.
func hintOn(goos, hint string, words ...string) string {
	if goos == "windows" {
		hint = decodeFirst(inPowerShell.Replace(hint))
	}
	for i := 1; i < len(words); i += 2 {
		words[i] = display.ArgOn(goos, words[i])
	}
	return strings.NewReplacer(words...).Replace(hint)
}

// decodeFirst decodes into a file: PowerShell before 7.4 takes the output of programs as lines of
// text, which PEM survives and DER does not.
func decodeFirst(hint string) string {
	const decoded = "decoded.tmp"
	before, reader, found := strings.Cut(hint, "base64 -di FILE | ")
	if !found {
		return hint
	}
	reader, rest, piped := strings.Cut(reader, " | ")
	if piped {
		rest = " | " + rest
	}
	return before + "certutil -decode FILE " + decoded + "; " + strings.ReplaceAll(reader, "/dev/stdin", decoded) + rest + "; Remove-Item " + decoded
}
