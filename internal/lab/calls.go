package lab

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// The descriptors of the stand-ins; standin/call has the same numbers.
const (
	callWrites = 8
	callReads  = 9
	firstExtra = 3 // exec.Cmd.ExtraFiles begins here
)

// callPipes carry the requests of one command's stand-ins, and the replies.
type callPipes struct {
	requests, replies *os.File // the lab's ends
	theirs            []*os.File
}

// newCallPipes gives cmd its descriptors.
func newCallPipes(cmd *exec.Cmd) (*callPipes, error) {
	requests, theirWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirReader, replies, err := os.Pipe()
	if err != nil {
		_ = requests.Close()
		_ = theirWriter.Close()
		return nil, err
	}
	cmd.ExtraFiles = make([]*os.File, callReads-firstExtra+1)
	cmd.ExtraFiles[callWrites-firstExtra] = theirWriter
	cmd.ExtraFiles[callReads-firstExtra] = theirReader
	return &callPipes{requests: requests, replies: replies, theirs: []*os.File{theirWriter, theirReader}}, nil
}

// started closes the command's ends of the pipes in this process, so that the end
// of the command is noticed.
func (p *callPipes) started() {
	for _, f := range p.theirs {
		_ = f.Close()
	}
}

func (p *callPipes) close() {
	_ = p.requests.Close()
	_ = p.replies.Close()
}

// serve answers requests until the command's ends are closed. Each request has its
// own goroutine: timeout(1) may have killed the caller of a slow request, such as a
// slow restart, and the next request must not wait for it.
func (p *callPipes) serve(ctx context.Context, notice func(string), call func(program string, args []string) reply) {
	var running sync.WaitGroup
	defer p.close()
	defer context.AfterFunc(ctx, p.close)()
	defer running.Wait()
	lines := bufio.NewScanner(p.requests)
	var writing sync.Mutex
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\x1f")
		if len(fields) < 2 {
			continue
		}
		running.Go(func() {
			text := call(fields[1], fields[2:]).lines(fields[0])
			writing.Lock()
			defer writing.Unlock()
			_, _ = p.replies.WriteString(text)
		})
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		notice("a stand-in's request can't be read: " + err.Error())
	}
}

// lines returns the reply in the format of standin/call.
func (r reply) lines(id string) string {
	var b strings.Builder
	for _, line := range r.out {
		b.WriteString(id + " o " + line + "\n")
	}
	for _, line := range r.err {
		b.WriteString(id + " e " + line + "\n")
	}
	b.WriteString(id + " x " + strconv.Itoa(r.status) + "\n")
	return b.String()
}
