// Made by coefficients.py: q in exp(r) - 1 = r + r^2 q(r), |r| <= log(2) / 2, lowest degree first.
#pragma once

namespace tgrnn {

// Relative error 2.2e-08.
constexpr float expm1_float[] = {
    0.500000003f, 0.16666577f, 0.0416663751f, 0.00836318123f, 0.00139411241f,
};

// Relative error 3.5e-17.
constexpr double expm1_double[] = {
    0.50000000000000011,    0.16666666666666674,    0.041666666666624122,   0.0083333333333222258,
    0.0013888888917215198,  0.00019841269886552805, 2.4801521294103721e-05, 2.755724237085219e-06,
    2.7620089197988996e-07, 2.5110039101712087e-08,
};
} // namespace tgrnn
