/* The transaction of internal/host/script on one VM: two runs, the timer and the boot
 * guard of each, recover, lost answers, kills and power cuts. Each step is one command of
 * the script that changes something, and has its name in internal/host/model_linux_test.go.
 * model_test.go runs spin. With PACKAGE a change also installs a package. Not modelled: rehearsals, --no-deadman, an agent that was
 * unhealthy before, and other writers of the certificate. */

/* With TRACE the model only does the steps of one recorded sequence, in their order. */
#ifdef TRACE
#define SEE(who, step) want[at] == EV(who, step) -> at++
byte want[LONGEST], at;
short which;
#define NEXT(who) (want[at] / 32 == who)
c_decl { \#include "sequences.h" };
#else
#define SEE(who, step) skip
#define NEXT(who) true
#endif
#define EV(who, step) ((who) * 32 + (step))
#define DO(step, effect) atomic { SEE(me, step); effect }

#define MKDIR 1       /* the run's folder, with its receipt */
#define ALIVE 2       /* the lock on the receipt */
#define PENDING 3
#define KEEP 4        /* the old file */
#define COPY 5        /* a file next to the live one */
#define GUARD 6
#define FLUSH 7       /* everything of the backup */
#define TIMER 8
#define LOCK 9        /* of the folder */
#define SWAP 10       /* the rename to the live name, also of an undo */
#define RESTART 11
#define CONFIRM 12
#define CLAIM 13
#define FLUSH_COPY 14
#define SYNC_CERT 15
#define NO_BACKUP 16
#define FINISH 17     /* rolled-back or failed */
#define SYNC_STATE 18
#define NO_PENDING 19
#define NO_GUARD 20
#define NO_TIMER 21
#define NO_SCRIPT 22
#define NO_FOLDER 23
#define END 24
#define KILL 25
#define POWER 26
#define LOCK_RECEIPT 27 /* of a run that has ended */
#define FLUSH_ONE 28    /* the backup and the new file of all files but the last */

#define UNHOLD 28       /* only with PACKAGE, which has one file */
#define HOLD 29
#define INSTALLING 30   /* from here on an undo installs the old package */
#define INSTALL 31      /* by the package manager */

/* A change has one file, or three on file systems of their own; do is a step of each. */
#if FILES == 3
#define each_file(do) do(0); do(1); do(2)
#define all(has) (has(0) && has(1) && has(2))
#else
#define FILES 1
#define each_file(do) do(0)
#define all(has) has(0)
#endif

/* The processes: runs 1 and 2, their timers 3 and 4. */
#define RECOVER 5
#define BOOT 6
#define NOBODY 0

mtype = { none, pending, undoing, confirmed, rolledback, failed };

/* The files that survive a power cut if they are synced. /var/lib, the certificate's folder
 * and /etc/systemd may be three file systems; each writes its changes in their order. */
typedef Files {
	mtype st[3];    /* the name of each run's receipt in the unit's folder */
	bit receipt[3]; /* the second name, in the run's folder */
	bit backup[3];
	bit script[3];  /* host.sh */
	bit won[3];     /* it was confirmed once; only the model knows that */
	bit guard[3];
#ifdef PACKAGE
	byte pkg;       /* the run whose package is installed; 0: the first; MIXED: files of two */
	bit begun[3];   /* the installation may have begun */
	bit hold[3];    /* the drop-in that keeps the agent from starting */
#endif
	byte live[FILES] /* the run whose file is live; 0: the first file */
}
Files mem, dsk;

/* What a power cut ends. */
bit up[7];      /* the process runs */
bit alive[3];   /* the run holds the lock on its receipt */
bit timer[3];
bit due[3];     /* the deadline has passed */
byte held;      /* who holds the folder's lock */
byte cleaning[3]; /* who holds the lock on the receipt of a run that has ended */
byte agent[FILES]; /* the files that the agent has read */
bit running;    /* the agent */
bit fresh;      /* it was started after the last change of a live file */
bit moved[3];   /* it was started again since the run's check */
bit booting;
byte old[3 * FILES]; /* the live files at the run's check; in its receipt */
#define OLD(r, f) old[(r) * FILES + (f)]
#if FILES == 3
#define any_live(r) (mem.live[0] == r || mem.live[1] == r || mem.live[2] == r)
#else
#define any_live(r) (mem.live[0] == r)
#endif
bit bad[3];     /* the agent is unhealthy with the run's file */

/* The faults that are still to come. init chooses their number, and all come. */
byte kills, cuts, recovers, errors;
bit last, over; /* the operator runs the last recover; without faults */

#ifdef PACKAGE
#define MIXED 3
byte program;   /* the package that the agent runs */
bit lifted[3];  /* the file in /run: the hold does not hold in this boot */
#define package_right (mem.pkg == mem.live[0] && dsk.pkg == mem.pkg && program == mem.pkg && !mem.hold[1] && !mem.hold[2])
#define may_start ((!mem.hold[1] || lifted[1] || !mem.script[1]) && (!mem.hold[2] || lifted[2] || !mem.script[2]))
/* The package manager syncs, or the script does after it; a power cut or a kill leaves files of both. */
inline install(v) { DO(INSTALL, mem.pkg = MIXED; dsk.pkg = MIXED); mem.pkg = v; dsk.pkg = v }
inline restore_package(r) { if :: mem.begun[r] -> install(0) :: else fi }
inline lift(r) { if :: mem.hold[r] -> lifted[r] = 1 :: else fi }
inline unhold(r) {
	if
	:: mem.hold[r] -> lifted[r] = 1; DO(UNHOLD, mem.hold[r] = 0; sync_units())
	:: else
	fi;
	lifted[r] = 0
}
#define reinstalled(r) mem.begun[r]
#else
#define package_right true
#define may_start true
#define reinstalled(r) false
#endif

#define is(state) (mem.st[1] == state || mem.st[2] == state)
#define other(r) (3 - r)

inline sync_var() {
	dsk.st[1] = mem.st[1]; dsk.receipt[1] = mem.receipt[1]; dsk.backup[1] = mem.backup[1]; dsk.script[1] = mem.script[1]; dsk.won[1] = mem.won[1];
#ifdef PACKAGE
	dsk.begun[1] = mem.begun[1]; dsk.begun[2] = mem.begun[2];
#endif
	dsk.st[2] = mem.st[2]; dsk.receipt[2] = mem.receipt[2]; dsk.backup[2] = mem.backup[2]; dsk.script[2] = mem.script[2]; dsk.won[2] = mem.won[2]
}
inline sync_units() {
#ifdef PACKAGE
	dsk.hold[1] = mem.hold[1]; dsk.hold[2] = mem.hold[2];
#endif
	dsk.guard[1] = mem.guard[1]; dsk.guard[2] = mem.guard[2] }
#define sync_file(f) dsk.live[f] = mem.live[f]
#define lose_file(f) if :: sync_file(f) :: true fi
#define lost_file(f) mem.live[f] = dsk.live[f]
#define read_file(f) agent[f] = mem.live[f]

/* ended gives a receipt its last name, which replaces that of an earlier run. */
inline ended(r, state) {
	mem.st[r] = state;
	due[r] = 0;
	if :: mem.st[other(r)] == state -> mem.st[other(r)] = none :: else fi
}

inline lock() { DO(LOCK, if :: held == NOBODY -> held = me :: held != NOBODY fi) }
inline lock_now() { DO(LOCK, if :: held == NOBODY -> held = me :: else fi) }
inline unlock() { if :: held == me -> held = NOBODY :: else fi }
inline exit() { DO(END, unlock(); ok = 0; whole = 0; lost = 0; up[me] = 0) }

/* change replaces a live file, with bytes that are on the disk: whole is how many are. */
inline change(f, v) { assert(whole > f); mem.live[f] = v; fresh = 0 }
inline start() {
#ifdef PACKAGE
	program = mem.pkg;
#endif
	each_file(read_file); running = 1; fresh = 1; moved[1] = 1; moved[2] = 1 }

inline disarm(r) {
#ifdef PACKAGE
	unhold(r);
#endif
	DO(NO_GUARD, mem.guard[r] = 0);
	DO(NO_TIMER, timer[r] = 0);
	DO(NO_SCRIPT, mem.script[r] = 0)
}
inline remove_run(r) {
	if
	:: mem.script[r] || up[r] -> DO(NO_BACKUP, mem.receipt[r] = 0; mem.backup[r] = 0); disarm(r)
	:: else
	fi;
#ifdef PACKAGE
	DO(NO_FOLDER, mem.receipt[r] = 0; mem.backup[r] = 0; mem.script[r] = 0; mem.begun[r] = 0)
#else
	DO(NO_FOLDER, mem.receipt[r] = 0; mem.backup[r] = 0; mem.script[r] = 0)
#endif
}
inline clean_run(r) {
	DO(SYNC_STATE, sync_var());
	if
	:: mem.receipt[r] && mem.backup[r] && mem.st[r] != rolledback -> if :: mem.script[r] -> disarm(r) :: else fi
	:: else -> remove_run(r)
	fi
}

/* clean_ended cleans a run of which something is left, if it has ended. The lock keeps a
 * run out that has not taken it yet. */
inline clean_ended(r, left) {
	if
	:: atomic { (left) && !alive[r] -> SEE(me, LOCK_RECEIPT); cleaning[r] = me; alive[r] = 1 };
		if :: mem.st[r] != pending -> if :: mem.st[r] != undoing -> clean_run(r) :: else fi :: else fi;
		atomic { cleaning[r] = 0; alive[r] = 0 }
	:: else
	fi
}

/* claim sets held to me if this process may undo the run. */
inline claim(r) {
	lock_now();
	if
	:: held == me ->
		if
		:: mem.st[r] == pending && !is(undoing) -> DO(CLAIM, mem.st[r] = undoing; due[r] = 0)
		:: else
		fi;
		if :: mem.st[r] == undoing :: else -> held = NOBODY fi
	:: else
	fi
}

/* restore_file sets ok to 0 if the file is not the old one. */
inline restore_file(r, mayfail, f) {
	ok = 1;
	if
	:: mem.live[f] == OLD(r, f)
	:: mem.live[f] == r ->
		assert(mem.backup[r] && !mem.won[r]);
		DO(COPY, whole = 0);
		DO(FLUSH_COPY, whole = FILES; sync_file(f));
		if
		:: DO(SWAP, change(f, OLD(r, f)))
		:: mayfail && errors > 0 -> errors--; ok = 0
		fi
	:: else -> ok = 0
	fi;
	if :: ok -> DO(SYNC_CERT, sync_file(f)) :: else fi
}

/* restore restores the last file first, and each also if another one fails. */
inline restore(r, mayfail) {
#if FILES == 3
	restore_file(r, mayfail, 2);
	lost = !ok;
	restore_file(r, mayfail, 1);
	lost = lost || !ok;
	restore_file(r, mayfail, 0);
	atomic { ok = ok && !lost; lost = 0 }
#else
	restore_file(r, mayfail, 0)
#endif
}

/* undo ends with a goto done, or with the result of the process that is quicker. */
inline undo(r, ticking) {
	do
	:: claim(r);
		if
		:: held == me -> break
		:: held != me && ticking -> goto done
		:: held != me && !ticking ->
			(held == NOBODY || mem.st[r] != undoing && mem.st[r] != pending);
			if
			:: mem.st[r] == confirmed -> DO(SYNC_STATE, sync_var()); rotated(r); goto done
			:: mem.st[r] != confirmed && mem.st[r] != undoing && mem.st[r] != pending -> goto done
			:: else
			fi
		fi
	od;
#ifdef PACKAGE
	restore_package(r);
#endif
	restore(r, ticking);
	if
	:: !ok && ticking && any_live(r) -> goto done
	:: !ok && !(ticking && any_live(r)) ->
		DO(FINISH, ended(r, failed));
		DO(SYNC_STATE, sync_var());
		disarm(r); goto done
	:: else
	fi;
#ifdef PACKAGE
	lift(r);
#endif
	if
	:: !running || moved[r] && !fresh || reinstalled(r) -> DO(RESTART, if :: may_start -> start() :: else fi)
	:: else
	fi;
	DO(NO_BACKUP, mem.receipt[r] = 0; mem.backup[r] = 0);
	DO(FINISH, assert(!mem.won[r]); ended(r, rolledback));
	DO(SYNC_STATE, sync_var());
	remove_run(r)
}

/* rotated is the report: it is true, and stays true after a power cut. */
inline rotated(r) { assert(mem.won[r] && dsk.won[r]) }

#define see_old(f) OLD(me, f) = mem.live[f]
#define keep(f) DO(KEEP, if :: mem.receipt[me] && mem.live[f] == OLD(me, f) -> mem.backup[me] = (f == FILES - 1) :: else -> goto refuse fi)
#define swap_file(f) DO(SWAP, change(f, me))
#define sync_one(f) DO(SYNC_CERT, sync_file(f))
#define is_new(f) (mem.live[f] == me)
#define in_use(f) (mem.live[f] == me && dsk.live[f] == me && agent[f] == me)

proctype Run(byte me) {
	bit ok, mine, lost;
	byte whole;
	atomic { NEXT(me) && !booting -> up[me] = 1 };
	{
		if :: is(pending) -> goto done :: else fi;
		if :: is(undoing) -> goto done :: else -> each_file(see_old); moved[me] = 0 fi;
		DO(MKDIR, mem.receipt[me] = 1);
		DO(ALIVE, if :: mem.receipt[me] && !alive[me] -> alive[me] = 1 :: else -> goto refuse fi);
		DO(PENDING, if :: mem.receipt[me] && !is(pending) -> mem.st[me] = pending; mine = 1 :: else -> goto refuse fi);
		if :: is(undoing) -> goto refuse :: else fi;
		each_file(keep);
		DO(COPY, whole = 0);
#if FILES == 3
		DO(FLUSH_ONE, whole = 1);
		DO(COPY, skip);
		DO(FLUSH_ONE, whole = 2);
		DO(COPY, skip);
#endif
		DO(GUARD, mem.guard[me] = 1; mem.script[me] = 1);
		DO(FLUSH, if :: mem.receipt[me] && mem.backup[me] -> sync_var(); sync_units(); whole = FILES :: else -> goto refuse fi);
		DO(TIMER, timer[me] = 1);
		if :: errors > 0 -> errors--; goto refuse :: true fi;
		lock();
		if :: held == me && mem.st[me] == pending :: else -> unlock(); goto undoes fi;
#ifdef PACKAGE
		lifted[me] = 1;
		DO(HOLD, mem.hold[me] = 1; sync_units());
#endif
		each_file(swap_file);
		due[me] = 0;
#ifdef PACKAGE
		DO(INSTALLING, mem.begun[me] = 1; sync_var());
		install(me);
#endif
		DO(RESTART, start(); unlock());
		if :: bad[me] -> goto undoes :: else fi;
		if :: true :: goto undoes fi; /* the answer: confirm, another one, or none */
		if :: !all(is_new) -> goto undoes :: else fi;
		each_file(sync_one);
		lock();
		if :: held == me && mem.st[me] == pending :: else -> unlock(); goto undoes fi;
		DO(CONFIRM, assert(all(in_use) && !bad[me]); ended(me, confirmed); mem.won[me] = 1; alive[me] = 0);
		DO(SYNC_STATE, sync_var());
		unlock();
		rotated(me);
		disarm(me);
		clean_ended(other(me), mem.script[other(me)] && mem.receipt[other(me)]);
		goto done;
refuse:		lock();
		if :: held == me && mem.st[me] == pending :: else -> mine = 0 fi;
		if
		:: mine -> DO(NO_PENDING, mem.receipt[me] = 0; mem.backup[me] = 0; if :: mem.st[1] == pending -> mem.st[1] = none :: mem.st[2] == pending -> mem.st[2] = none :: else fi)
		:: else -> DO(NO_BACKUP, mem.receipt[me] = 0; mem.backup[me] = 0)
		fi;
		unlock();
		remove_run(me);
		goto done;
undoes:		undo(me, false);
done:		atomic { if :: !cleaning[me] -> alive[me] = 0 :: else fi }; exit()
	} unless { atomic { !up[me] -> ok = 0; whole = 0; lost = 0 } }
}

/* Timer is one tick, again and again. A tick without an effect is left out. */
proctype Timer(byte me; byte r) {
	bit ok, lost;
	byte whole;
end:	do
	:: atomic { NEXT(me) && timer[r] && !up[me] && mem.script[r] && (mem.st[r] == pending -> due[r] && held == NOBODY : mem.st[r] != undoing || held == NOBODY) -> up[me] = 1 };
		{
			if
			:: mem.st[r] == pending || mem.st[r] == undoing -> undo(r, true)
			:: else -> clean_run(r)
			fi;
done:			exit()
		} unless { atomic { !up[me] -> ok = 0; whole = 0; lost = 0 } }
	od
}

/* Boot runs the guards, and starts the agent after them. */
proctype Boot(byte me) {
	bit ok, lost;
	byte whole, r;
end:	do
	:: atomic { booting && !up[me] -> up[me] = 1; r = 1 };
		{
			do
			:: r <= 2 ->
				if
#ifdef PACKAGE
				:: !mem.guard[r] || !is(pending) && !is(undoing) && !mem.hold[r]
#else
				:: !mem.guard[r] || !is(pending) && !is(undoing)
#endif
				:: else ->
					if
					:: mem.st[r] == pending || mem.st[r] == undoing ->
						claim(r);
						if
#ifdef PACKAGE
						:: held == me -> restore(r, false); DO(TIMER, timer[r] = 1)
#else
						:: held == me -> restore(r, false); if :: ok -> DO(NO_GUARD, mem.guard[r] = 0) :: else fi
#endif
						:: else
						fi
					:: else -> clean_run(r)
					fi;
					unlock()
				fi;
				r++
			:: else -> break
			od;
			atomic { if :: may_start -> start() :: else fi; booting = 0 };
			exit()
		} unless { atomic { !up[me] -> ok = 0; whole = 0; lost = 0 } }
	od
}

/* Recover runs at any time, and once when nothing else happens any more. */
proctype Recover(byte me) {
	bit ok, lost;
	byte whole, r, n;
end:	do
	:: atomic { NEXT(me) && (recovers > 0 || last) && !up[me] -> up[me] = 1; n = 0; if :: last -> last = 0 :: else -> recovers-- fi };
		{
			do
			:: n < 3 ->
				r = 0;
				if
				:: n != 1 && mem.st[1] == undoing || n == 1 && mem.st[1] == pending -> r = 1
				:: n != 1 && mem.st[2] == undoing || n == 1 && mem.st[2] == pending -> r = 2
				:: else
				fi;
				if
				:: r > 0 ->
					if :: n == 1 && alive[r] && mem.receipt[r] && !due[r] -> goto done :: else fi;
					undo(r, false);
					goto done
				:: else
				fi;
				n++
			:: else -> break
			od;
			r = 1;
			do
			:: r <= 2 ->
				clean_ended(r, mem.receipt[r] || mem.script[r]);
				r++
			:: else -> break
			od;
done:			atomic { r = 0; n = 0 }; exit()
		} unless { atomic { !up[me] -> ok = 0; whole = 0; lost = 0 } }
	od
}

/* World lets deadlines pass, kills, and cuts the power. */
proctype World() {
	byte p;
end:	do
	:: d_step { mem.st[1] == pending && timer[1] && !due[1] -> due[1] = 1 }
	:: d_step { mem.st[2] == pending && timer[2] && !due[2] -> due[2] = 1 }
	:: atomic {
		kills > 0 && !over && (up[1] || up[2] || up[3] || up[4] || up[5] || up[6]) ->
		if :: up[1] -> p = 1 :: up[2] -> p = 2 :: up[3] -> p = 3 :: up[4] -> p = 4 :: up[5] -> p = 5 :: up[6] -> p = 6 fi;
		kills--;
		SEE(p, KILL);
		up[p] = 0;
		if :: p < 3 && !cleaning[p] -> alive[p] = 0 :: else fi;
		if :: cleaning[1] == p -> alive[1] = 0; cleaning[1] = 0 :: else fi;
		if :: cleaning[2] == p -> alive[2] = 0; cleaning[2] = 0 :: else fi;
		if :: held == p -> held = NOBODY :: else fi;
		p = 0
	}
	:: atomic {
		cuts > 0 -> cuts--;
		SEE(NOBODY, POWER);
		if :: sync_var() :: true fi;
		if :: sync_units() :: true fi;
		each_file(lose_file);
		d_step {
			each_file(lost_file); mem.guard[1] = dsk.guard[1]; mem.guard[2] = dsk.guard[2];
			mem.st[1] = dsk.st[1]; mem.receipt[1] = dsk.receipt[1]; mem.backup[1] = dsk.backup[1]; mem.script[1] = dsk.script[1]; mem.won[1] = dsk.won[1];
			mem.st[2] = dsk.st[2]; mem.receipt[2] = dsk.receipt[2]; mem.backup[2] = dsk.backup[2]; mem.script[2] = dsk.script[2]; mem.won[2] = dsk.won[2];
			p = 0;
			do :: p < 7 -> up[p] = 0; p++ :: else -> break od;
#ifdef PACKAGE
			mem.pkg = dsk.pkg; mem.begun[1] = dsk.begun[1]; mem.begun[2] = dsk.begun[2]; mem.hold[1] = dsk.hold[1]; mem.hold[2] = dsk.hold[2]; lifted[1] = 0; lifted[2] = 0;
#endif
			alive[1] = 0; alive[2] = 0; cleaning[1] = 0; cleaning[2] = 0; timer[1] = 0; timer[2] = 0; held = NOBODY; running = 0; booting = 1; p = 0
		}
	}
	od
}

#define right(f) (agent[f] == mem.live[f] && mem.live[f] == mem.live[0] && !bad[mem.live[f]] && (mem.live[f] == 0 || mem.won[mem.live[f]]))
#define whole_host (running && all(right) && held == NOBODY && package_right)

init {
	atomic {
		mem.st[1] = none; mem.st[2] = none; dsk.st[1] = none; dsk.st[2] = none; running = 1;
		if :: bad[1] = 0 :: bad[1] = 1 fi;
		if :: bad[2] = 0 :: RUNS == 2 -> bad[2] = 1 fi;
#ifdef TRACE
		kills = KILLS; cuts = CUTS; recovers = RECOVERS; errors = ERRORS;
#else
		select (kills : 0 .. KILLS); select (cuts : 0 .. CUTS); select (recovers : 0 .. RECOVERS); select (errors : 0 .. ERRORS);
#endif
#ifdef TRACE
		select (which : 0 .. SEQUENCES - 1);
		c_code { memcpy(now.want, sequences[now.which], LONGEST); };
#endif
		run World(); run Boot(BOOT); run Recover(RECOVER); run Timer(3, 1); run Timer(4, 2); run Run(1);
		if :: RUNS == 2 -> run Run(2) :: else fi
	}
#ifdef TRACE
	want[at] == 0;
	c_code { printf("possible %d\n", now.which); }
#else
	/* The host alone. */
	atomic { timeout -> assert(whole_host && !timer[1] && !timer[2]); last = 1; over = 1 };
	/* After the operator's recover the next run can start, and nothing is left. */
	atomic { timeout -> assert(whole_host && !last && !is(pending) && !is(undoing) && !mem.script[1] && !mem.script[2]) }
#endif
}
