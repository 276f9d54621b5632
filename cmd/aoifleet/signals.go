package main

import (
	"os"
	"sync"
)

// signals says what a signal does. The first one ends the context of who heeds
// it, the second does what was set for it; where there is nobody, as while a
// file is read, the program is left at once.
type signals struct {
	left chan os.Signal // has room for one: the signal that the program is left for

	mu     sync.Mutex
	first  os.Signal
	heeded bool
	hard   func()
}

func newSignals() *signals { return &signals{left: make(chan os.Signal, 1)} }

func (s *signals) listen(received <-chan os.Signal, stop func()) {
	for sig := range received {
		s.mu.Lock()
		again, heeded, hard := s.first != nil, s.heeded, s.hard
		if !again {
			s.first = sig
		}
		first := s.first
		s.mu.Unlock()
		stop()
		switch {
		case again && hard != nil:
			hard()
		case again || !heeded:
			select {
			case s.left <- first:
			default: // it is being left
			}
		}
	}
}

// got is the first signal, or nil.
func (s *signals) got() os.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// heed says that from now on the context is watched, or that what is being done
// must not be left half done at the first signal.
func (s *signals) heed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heeded = true
}

// onSecond sets what the second signal does.
func (s *signals) onSecond(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hard = f
}
