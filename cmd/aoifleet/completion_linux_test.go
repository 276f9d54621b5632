package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The shells themselves complete with the scripts that the program prints. Each program prints
// what its shell would offer.
func TestShellsComplete(t *testing.T) {
	const bash = `
. /usr/share/bash-completion/bash_completion
. <(aoifleet completion bash)
COMP_LINE=$LINE COMP_POINT=${#LINE} COMP_TYPE=9 COMP_KEY=9
read -ra COMP_WORDS <<<"$LINE"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
__start_aoifleet
printf '%s\n' "${COMPREPLY[@]}"`
	// Of zsh's completion system only the functions that talk to its line editor are replaced.
	const zsh = `
compdef() { : }
_describe() { shift; [ "$1" != completions ] && shift; print -l -- ${(P)1} }
_arguments() { : }
. <(aoifleet completion zsh)
words=(${=LINE}) CURRENT=$#words
_aoifleet`
	const fish = `
aoifleet completion fish | source
complete -C "$LINE"`
	inventory := unreachableInventory(t)
	for shell, script := range map[string]string{"bash": bash, "zsh": zsh, "fish": fish} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil && os.Getenv("CI") == "" {
				t.Skip(err)
			}
			if _, err := os.Stat("/usr/share/bash-completion/bash_completion"); shell == "bash" && err != nil && os.Getenv("CI") == "" {
				t.Skip(err)
			}
			for line, want := range map[string]string{
				"aoifleet rotate -l london-":           "london-1 london-2",
				"aoifleet rotate --on-failure rollbac": "rollback-all",
				"aoifleet hostk":                       "hostkeys",
			} {
				args := map[string][]string{"bash": {"--norc", "-c"}, "zsh": {"-f", "-c"}, "fish": {"--no-config", "-c"}}[shell]
				cmd := exec.Command(shell, append(args, script)...)
				cmd.Env = append(os.Environ(), "LINE="+line, "AOIFLEET_INVENTORY="+inventory, "HOME="+t.TempDir(), "TERM=dumb")
				out, err := cmd.CombinedOutput()
				var words []string
				for _, offered := range strings.Fields(string(out)) {
					if strings.HasPrefix(offered, "london-") || offered == "rollback-all" || strings.HasPrefix(offered, "hostkeys") {
						words = append(words, strings.SplitN(offered, ":", 2)[0])
					}
				}
				if strings.Join(words, " ") != want {
					t.Errorf("%q: %v, %s, want %s", line, err, out, want)
				}
			}
		})
	}
}
