package sshconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// counter returns an ssh that counts its calls.
func counter(t *testing.T) (program string, calls func() int) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	program = write(t, filepath.Join(dir, "ssh"), "#!/bin/sh\necho x >> "+log+"\nexec "+sshProgram(t)+" \"$@\"\n")
	makeExecutable(t, program)
	return program, func() int {
		text, _ := os.ReadFile(log)
		return strings.Count(string(text), "x")
	}
}

// Hosts that ssh treats the same share one process, and each gets the same answer as from
// its own process.
func TestOneProcess(t *testing.T) {
	const hosts = 30
	cases := []struct {
		name, config string
		calls        int
	}{
		{"no file", "", 1},
		{"for all", "Host *\n User u\n ProxyCommand ssh -W %h:%p bastion\n ControlPath /x/%C\n", 1},
		{"by patterns", "Host 10.0.0.1? 10.0.0.2?\n ProxyJump b\n", 3},
		{"exceptions", "Host 10.0.* !10.0.0.7\n ProxyJump b\n", 2},
		{"HostName of one", "Host 10.0.0.3\n HostName 10.0.0.4\n", 2},
		{"Match by name", "Match final host 10.0.0.3,10.0.0.4 user root\n Port 7\n", 3},
		{"Match by user", "Match user root\n Port 7\n", 1},
		{"as RHEL has it", "Match final all\n GSSAPIAuthentication yes\n", 1},
		{"an included file", "Include sub\n", 2},
		{"a token", "IdentityFile ~/%h\n", hosts},
		{"a token in HostName", "HostName %h\n", hosts},
		{"Match exec", "Match exec \"test %h = 10.0.0.5\"\n Port 7\n", hosts},
		{"Match exec without quotes", "Match exec true\n Port 7\n", hosts},
		{"canonical names", "CanonicalizeHostname yes\n", hosts},
		{"quotes", "Host \"10.0.0.1\"\n Port 7\n", hosts},
		{"a class of characters is none", "Host 10.0.0.[12]\n Port 7\n", hosts},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "sub"), "Host 10.0.0.9\n Port 9\n")
			config := write(t, filepath.Join(dir, "config"), strings.Replace(tc.config, "Include sub", "Include "+dir+"/sub", 1))
			program, calls := counter(t)
			r := New(Options{Program: program, Home: dir})
			var answers []Host
			for i := range hosts {
				h, err := r.Resolve(testContext(t), Query{Host: fmt.Sprint("10.0.0.", i), File: config})
				if err != nil {
					t.Fatal(err)
				}
				answers = append(answers, h)
			}
			if n := calls(); n != tc.calls {
				t.Errorf("%d processes, want %d", n, tc.calls)
			}
			for i := 0; i < hosts; i++ {
				want, err := New(Options{Program: sshProgram(t), Home: dir}).Resolve(testContext(t), Query{Host: fmt.Sprint("10.0.0.", i), File: config})
				if err != nil || !reflect.DeepEqual(want, answers[i]) {
					t.Errorf("got  %+v\nwant %+v, %v", answers[i], want, err)
				}
			}
		})
	}
}

// An address that ssh writes in another form does not become the address of the next host.
func TestAddressForms(t *testing.T) {
	dir := t.TempDir()
	config := write(t, filepath.Join(dir, "config"), "User u\n")
	program, calls := counter(t)
	r := New(Options{Program: program, Home: dir})
	hosts := []string{"0:0:0:0:0:0:0:1", "2001:db8:0::2", "2001:db8::3", "2001:db8::4", "::7f00:1", "::ffff:7f00:1", "fe80::1", "127.1", "010.0.0.1", "0x7f000001", "10.0.0.1", "10.0.0.2", "vm"}
	for _, host := range hosts {
		got, err := r.Resolve(testContext(t), Query{Host: host, File: config})
		want, wantErr := New(Options{Program: sshProgram(t), Home: dir}).Resolve(testContext(t), Query{Host: host, File: config})
		if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v, %v", host, got, err, want, wantErr)
		}
	}
	if n, most := calls(), 9; n > most {
		t.Errorf("%d processes, want at most %d", n, most)
	}
}

// The inventory's user and port are part of the query. Concurrent queries share a process.
func TestOneProcessAtOnce(t *testing.T) {
	dir := t.TempDir()
	config := write(t, filepath.Join(dir, "config"), "Match user bob\n Port 7\n")
	program, calls := counter(t)
	r := New(Options{Program: program, Home: dir})
	results := make(chan error, 100)
	for i := range cap(results) {
		go func() {
			q := Query{Host: fmt.Sprint("host-", i), File: config, User: []string{"bob", "eve"}[i%2]}
			h, err := r.Resolve(testContext(t), q)
			if err == nil && (h.HostName != q.Host || h.Alias != q.Host || h.User != q.User || h.Port != []int{7, 22}[i%2]) {
				err = fmt.Errorf("%+v", h)
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := calls(); n != 2 {
		t.Errorf("%d processes", n)
	}
}

// Hosts share no process of an ssh that may read another system-wide file.
func TestUnusualProgram(t *testing.T) {
	program, calls := counter(t)
	r := New(Options{Program: program, Home: t.TempDir()})
	for i := range 3 {
		if _, err := r.Resolve(testContext(t), Query{Host: fmt.Sprint("host-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := calls(); n != 3 {
		t.Errorf("%d processes", n)
	}
}

func BenchmarkTenThousandHosts(b *testing.B) {
	for b.Loop() {
		r := New(Options{Home: "/nonexistent"})
		for i := range 10_000 {
			if _, err := r.Resolve(b.Context(), Query{Host: fmt.Sprint("host-", i), User: "u"}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
