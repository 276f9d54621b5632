package devserver

import (
	"os"
	"sync"
)

// logFile is the file that a server logs to. What it says after Close is lost: some of its
// goroutines live on for a while.
type logFile struct {
	mu   sync.Mutex
	file *os.File // nil: closed
}

func openLog(path string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &logFile{file: file}, err
}

// Write implements zapcore.WriteSyncer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return len(p), nil
	}
	return l.file.Write(p)
}

// Sync implements zapcore.WriteSyncer.
func (l *logFile) Sync() error { return nil }

// Close closes the file; more than once is no error.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
