package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signals decides what a signal does. The first signal ends the context; if the command
// does not watch it (see heed), for example while a file is read, the program exits at
// once. The second signal calls the function of onSecond, or exits.
type signals struct {
	exit chan os.Signal // receives the first signal when the program is to exit at once

	stop   func() // ends the context
	mu     sync.Mutex
	first  os.Signal
	heeded bool
	second func()
}

// newSignals returns signals of which the first calls stop, which ends the context.
func newSignals(stop func()) *signals { return &signals{exit: make(chan os.Signal, 1), stop: stop} }

func (s *signals) listen(received <-chan os.Signal) {
	for sig := range received {
		s.receive(sig)
	}
}

func (s *signals) receive(sig os.Signal) {
	s.mu.Lock()
	if s.first != nil && sig == syscall.SIGHUP { // the shell and the kernel both send it
		s.mu.Unlock()
		return
	}
	again, heeded, second := s.first != nil, s.heeded, s.second
	if !again {
		s.first = sig
	}
	first := s.first
	s.mu.Unlock()
	s.stop()
	switch {
	case again && second != nil:
		second()
	case again || !heeded:
		select {
		case s.exit <- first:
		default: // it is exiting already
		}
	}
}

// stopOnce does what the first signal does, unless there was one.
func (s *signals) stopOnce() {
	if s.got() == nil {
		s.receive(os.Interrupt)
	}
}

// got returns the first signal, or nil.
func (s *signals) got() os.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// heed prevents the exit at the first signal from now on: the command watches its context,
// or does something that must be finished.
func (s *signals) heed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heeded = true
}

// onSecond sets the function that the second signal calls.
func (s *signals) onSecond(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.second = f
}

// ending returns the signals that end the program. SIGHUP is one, so that a run ends in
// order when its terminal goes away, unless it is ignored from the start (nohup(1)).
func ending() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}
