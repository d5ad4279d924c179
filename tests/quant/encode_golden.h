/* encode_golden.h: made by tools/make_encode_golden.py, which says what it is. */
static const struct {
    enum dtype type;
    double numpy, plain; /* 0: not known */
} encode_golden[] = {
    {DT_Q4_0, 5.77230524, 5.77230524},
    {DT_Q4_1, 2.38109934, 2.38109934},
    {DT_Q5_0, 1.47487462, 1.47487462},
    {DT_Q5_1, 0.548350467, 0.548350467},
    {DT_Q8_0, 0.0234319387, 0.0234319387},
    {DT_Q2_K, 0, 22.8328103},
    {DT_Q3_K, 0, 9.1262061},
    {DT_Q4_K, 0, 2.05767189},
    {DT_Q5_K, 0, 0.523303385},
    {DT_Q6_K, 0, 0.193022275},
};
