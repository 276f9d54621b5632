package host

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// BenchmarkOpening measures the processor time in which a shell reads the script from a
// pipe and defines its functions: as it is sent, and as a plain script with a copy in $self.
func BenchmarkOpening(b *testing.B) {
	plain := append([]byte(sent), "self='"+strings.ReplaceAll(sent, "'", `'\''`)+"'\n"...)
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		for name, text := range map[string][]byte{"sent": opening(), "plain": plain} {
			b.Run(shell[0]+"/"+name, func(b *testing.B) {
				var used time.Duration
				for b.Loop() {
					cmd := exec.Command(shell[0], append(shell[1:], "-s")...)
					cmd.Stdin = bytes.NewReader(text)
					if err := cmd.Run(); err != nil {
						b.Fatal(err)
					}
					used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
				}
				b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "CPU-ms/op")
			})
		}
	}
}
