package edge

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"tickedge/internal/doctor"
	"tickedge/internal/loop"
)

const doctorHelp = `edge doctor says how many connections this host can hold, what limits them, and
which lines to change so that it can hold -max-conns.

  edge doctor                      how many can be held
  edge doctor -max-conns 100000    what is missing for that many
  edge doctor -json                the same for machines

It takes all flags of edge and their environment variables, and changes nothing. The
limit of open files is that of this shell: run it as the edge runs, for instance as
ExecStartPre= of its unit or in its container. See docs/TUNING.md.

Exit code: 0 enough, or no goal given; 1 -max-conns can't be held; 2 a flag is wrong.
`

// examine is the sub-command doctor. It returns the exit code.
func examine(args []string, stdout, stderr io.Writer) int {
	goal, asJSON, err := doctorGoal(args)
	var usage *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, doctorHelp)
		return exitOK
	case errors.As(err, &usage):
		for _, p := range usage.problems {
			fmt.Fprintln(stderr, "edge doctor:", p)
		}
		fmt.Fprintln(stderr, "edge -h lists all flags")
		return exitUsage
	}
	if runtime.GOOS != "linux" {
		fmt.Fprintln(stderr, "edge doctor: it only knows Linux, and this is", runtime.GOOS)
		return exitError
	}
	// The edge raises its limit of files before it looks at it, so the doctor does the
	// same before it reads the host.
	limit, err := loop.FileLimit()
	host := doctor.ReadHost(os.DirFS("/"))
	if err == nil && host.FilesHard == doctor.Unknown {
		host.FilesHard = doctor.Amount(min(limit, uint64(doctor.Unlimited)))
	}
	report := doctor.Assess(host, goal)
	if asJSON {
		out := json.NewEncoder(stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		err = out.Encode(report)
	} else {
		err = report.WriteText(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "edge doctor:", err)
		return exitError
	}
	if !report.Enough {
		return exitError
	}
	return exitOK
}

// doctorGoal reads the flags of edge, and -json. The error is flag.ErrHelp or a
// *usageError.
func doctorGoal(args []string) (doctor.Goal, bool, error) {
	c := &config{}
	fs := c.flags()
	asJSON := fs.Bool("json", false, "print JSON")
	if err := readFlags(fs, args); err != nil {
		return doctor.Goal{}, false, err
	}
	// The edge refuses a maximum that this host can't hold. To the doctor that is an
	// answer and no mistake, so validate is asked about everything else.
	conns := c.maxConns
	c.maxConns = min(conns, 0)
	var usage *usageError
	if errors.As(c.validate(fs), &usage) {
		usage.problems = slices.DeleteFunc(usage.problems, func(p string) bool {
			return strings.HasPrefix(p, "-max-conns 0 ") || strings.HasPrefix(p, "the limit of open files")
		})
		if len(usage.problems) > 0 {
			return doctor.Goal{}, false, usage
		}
	}
	return doctor.Goal{
		Conns:    int64(conns),
		Loops:    c.loops,
		Reserve:  int64(c.fileReserve()),
		Interval: c.interval,
	}, *asJSON, nil
}
