// The authors' table of ladders, one for each aspect ratio, as far as parity
// runs need it: a recorded run names only the grids that it used, but positions
// are normalised to the last grid of the aspect's full (1M) ladder.
//
// Models of the server say so themselves (LadderSpec::rope_grid).

#ifndef MODEL_PARITY_ASPECT_TEMPLATES_H_
#define MODEL_PARITY_ASPECT_TEMPLATES_H_

#include <vector>

#include "cache/ladder.h"

namespace heatkv::model {

// The last grid of the template to which `grids` (not empty) belong: of the
// template that begins with them, if there is one; of several, or if there is
// none, that whose height : width is nearest to the last of `grids`
// (specification section 7).
cache::Grid RopeGridFor(const std::vector<cache::Grid>& grids);

}  // namespace heatkv::model

#endif  // MODEL_PARITY_ASPECT_TEMPLATES_H_
