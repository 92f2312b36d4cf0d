/*
   A lock that advises: it says how likely somebody unlocks it in the next quarter of an hour.

   door.c beside it is the home's own model, which `fedhome model export` wrote. Nothing here goes
   over a network, and nothing moves a bolt: what people do with the advice is theirs.

       cc -std=c99 -O2 lock.c -lm -o lock

   Standard input stands for the lock's sensors, a line at the end of each quarter of an hour:

       BEGIN UNLOCKED MOTION

   BEGIN is when the quarter began, in seconds since 1970-01-01 00:00 on the home's own clock;
   UNLOCKED is 1 where the door was unlocked in it, MOTION 1 where somebody moved before it.
*/
#define FEDHOME_CALENDAR
#include "door.c"

#include <stdio.h>

enum { STEP_S = 900, DAY = 96, KEPT = 2 * DAY + 1 };

/* The last two days, each quarter of an hour at a place of its own. */
static struct {
    long long begin;
    int unlocked, motion;
} kept[KEPT];

/* What was read in the quarter that began then, or last in the day before it; else NaN. */
static double read_at(long long begin, int of_motion)
{
    int back;
    for (back = 0; back <= DAY && begin >= 0; back++, begin -= STEP_S) {
        const long long place = begin / STEP_S % KEPT;
        if (kept[place].begin == begin)
            return of_motion ? kept[place].motion : kept[place].unlocked;
    }
    return (double)NAN;
}

int main(void)
{
    long long begin;
    int unlocked, motion;
    for (begin = 0; begin < KEPT; begin++)
        kept[begin].begin = -1;
    while (scanf("%lld %d %d", &begin, &unlocked, &motion) == 3) {
        const long long next = begin + STEP_S;
        double inputs[DOOR_INPUTS];
        door_prediction found;
        if (begin < 0 || begin % STEP_S != 0) {
            printf("%lld is not the begin of a quarter of an hour\n", begin);
            return 1;
        }
        kept[begin / STEP_S % KEPT].begin = begin;
        kept[begin / STEP_S % KEPT].unlocked = unlocked != 0;
        kept[begin / STEP_S % KEPT].motion = motion != 0;
        inputs[DOOR_IN_MOTION] = read_at(begin, 1);
        inputs[DOOR_IN_UNLOCKED_15MIN_BEFORE] = read_at(begin, 0);
        inputs[DOOR_IN_UNLOCKED_1D_BEFORE] = read_at(next - DAY * STEP_S, 0);
        door_calendar(next, inputs);
        door_predict(inputs, &found);
        printf("unlock expected in the next 15 minutes: %.2f\n",
               found.probability[DOOR_CLASS_YES]);
        fflush(stdout);
    }
    return 0;
}
