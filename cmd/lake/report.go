package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"lake/ingest"
)

// report prints a command's result: for people, or as one line of JSON.
func (a *app) report(result any, print func(io.Writer)) error {
	line, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	line = append(line, '\n')
	if a.flags.resultFile != "" {
		if err := os.WriteFile(a.flags.resultFile, line, 0o644); err != nil {
			return fmt.Errorf("write the result file: %w", err)
		}
	}
	if a.flags.output == "json" {
		_, err := a.stdout.Write(line)
		return err
	}
	print(a.stdout)
	return nil
}

// progress shows how a run stands: one line that is written over on a terminal,
// a log line now and then elsewhere.
type progress struct {
	app   *app
	job   *resolved
	every time.Duration
	bar   bool
	drawn bool
}

func (a *app) newProgress(r *resolved) *progress {
	_, plain := a.env("NO_COLOR")
	p := &progress{app: a, job: r, every: 30 * time.Second, bar: terminal(a.stderr) && !plain}
	if p.bar {
		p.every = 200 * time.Millisecond
	}
	return p
}

func (p *progress) show(now ingest.Progress) {
	answers := int64(0)
	for _, n := range now.Answers {
		answers += n
	}
	if !p.bar {
		p.app.log.Info("ingesting", "job", p.job.Name.Value, "records", now.Records, "rows", now.Rows, "dead_letters", now.DeadLetters,
			"commits", now.Commits, "answers", answers, "elapsed", now.Elapsed.Round(time.Second))
		return
	}
	p.drawn = true
	fmt.Fprintf(p.app.stderr, "\r\x1b[K%s  %s records  %s dead letters  %s commits  %s answers  %s/s", p.job.Name.Value, formatCount(now.Records),
		formatCount(now.DeadLetters), formatCount(now.Commits), formatCount(answers), formatCount(int64(float64(now.Records)/max(now.Elapsed.Seconds(), 0.001))))
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.app.stderr, "\r\x1b[K")
	}
}
